"""Where the time goes: onnxruntime's own profile of a few runs."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from edgeq.runtime.kernels import original_name
from edgeq.runtime.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.runtime.session import SessionConfig
    from edgeq.types import Sample

_SUFFIX = "_kernel_time"
_RUNS = 10


@dataclass(frozen=True, slots=True)
class NodeTime:
    """Time spent in one node.

    Attributes:
        name: Its name, without what onnxruntime appends.
        op_type: The operator that ran.
        share: Fraction of the time of all nodes.
        microseconds: Time of one run.
    """

    name: str
    op_type: str
    share: float
    microseconds: float


def profile(
    model: ir.Model, config: SessionConfig, samples: Sequence[Sample]
) -> tuple[NodeTime, ...]:
    """Run a model a few times under onnxruntime's profiler.

    Args:
        model: The model; not changed.
        config: How to open it.
        samples: At least one; used in turn.

    Returns:
        Every node that ran, the slowest first.
    """
    with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
        session = Session(model, config, profile_prefix=Path(folder) / "profile")
        for run in range(_RUNS):
            session.run(samples[run % len(samples)])
        events = json.loads(session.end_profiling().read_text(encoding="utf-8"))
    taken: dict[tuple[str, str], list[float]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            op_type = str(event.get("args", {}).get("op_name", ""))
            key = (original_name(name.removesuffix(_SUFFIX)), op_type)
            taken.setdefault(key, []).append(float(event["dur"]))
    # The median of a node's calls, as one interruption would outweigh all the others.
    spent = {key: median(times) * len(times) / _RUNS for key, times in taken.items()}
    total = sum(spent.values()) or 1.0
    ranked = sorted(spent.items(), key=lambda item: -item[1])
    return tuple(NodeTime(*key, time / total, time) for key, time in ranked)
