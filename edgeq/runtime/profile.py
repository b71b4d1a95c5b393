"""Where the time goes: onnxruntime's own profile of a few runs."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from edgeq.runtime.kernels import original_name
from edgeq.runtime.latency import is_enough
from edgeq.runtime.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.runtime.session import SessionConfig
    from edgeq.types import Sample

_SUFFIX = "_kernel_time"
_ROUNDS = (10, 50)
_SECONDS = 1.0


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
    return profiles([model], config, samples)[0]


def profiles(
    models: Sequence[ir.Model], config: SessionConfig, samples: Sequence[Sample]
) -> tuple[tuple[NodeTime, ...], ...]:
    """The same for several models that run in turn, so that all see the same machine.

    Args:
        models: The models; not changed.
        config: How to open them.
        samples: At least one; used in turn.

    Returns:
        For each model every node that ran, the slowest first.
    """
    least, most = _ROUNDS
    with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
        sessions = [
            Session(model, config, profile_prefix=Path(folder) / f"profile{number}")
            for number, model in enumerate(models)
        ]
        rounds, start = 0, time.perf_counter()
        while rounds < most:
            if is_enough(rounds, time.perf_counter() - start, least, _SECONDS):
                break
            for session in sessions:
                session.run(samples[rounds % len(samples)])
            rounds += 1
        return tuple(_read(session.end_profiling(), rounds) for session in sessions)


def _read(file: Path, runs: int) -> tuple[NodeTime, ...]:
    taken: dict[tuple[str, str], list[float]] = {}
    for event in json.loads(file.read_text(encoding="utf-8")):
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            op_type = str(event.get("args", {}).get("op_name", ""))
            key = (original_name(name.removesuffix(_SUFFIX)), op_type)
            taken.setdefault(key, []).append(float(event["dur"]))
    # The median of a node's calls, as one interruption would outweigh all the others.
    spent = {key: median(times) * len(times) / runs for key, times in taken.items()}
    total = sum(spent.values()) or 1.0
    ranked = sorted(spent.items(), key=lambda item: -item[1])
    return tuple(NodeTime(*key, took / total, took) for key, took in ranked)
