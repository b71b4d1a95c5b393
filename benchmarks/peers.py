"""Tools that simplify models, each in a process of its own, as some crash and some hang.

    python benchmarks/peers.py run TOOL MODEL OUT                what optimize.py --peers starts
    python benchmarks/peers.py judge MODEL OUT SAMPLES THREADS

The tools: edgeq, also for the target cpu, which lets it use operators that onnxruntime adds;
onnxsim and onnxslim, if they are installed (``pip install onnxsim onnxslim``); and onnxruntime's
own rewriting, saved with SessionOptions.optimized_model_filepath at its levels basic and extended.
A result fails when the tool does, when onnxruntime does not load or run it, when it takes other
inputs or gives other outputs, or when an output is off by more than 1e-3 of its range.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from common import operators

import edgeq
from edgeq.errors import EdgeqError
from edgeq.graph import loader
from edgeq.graph.interface import Interface
from edgeq.passes.proof import TOLERANCE, difference
from edgeq.runtime.latency import compare_latency
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.graph.interface import Port
    from edgeq.types import Array, Sample


@dataclass(frozen=True)
class Trial:
    """A tool and a model for it.

    Attributes:
        tool: One of :data:`TOOLS`.
        model: The file it is given; its result goes beside it.
        samples: File of :func:`put_samples`.
        threads: Of onnxruntime, when it is timed.
        timeout: Seconds that the tool, and then its judge, may take.
    """

    tool: str
    model: Path
    samples: Path
    threads: int
    timeout: float

    def run(self) -> dict[str, Any]:
        """What came of it: nodes, latency and error, seconds of the tool; or its failure."""
        result = self.model.with_name(f"{self.tool}.onnx".replace(" ", "_"))
        failure, said = self._child("run", self.tool, self.model, result)
        if failure is not None:
            return {"failure": failure}
        seconds = json.loads(said)
        arguments = (self.model, result, self.samples, self.threads)
        failure, said = self._child("judge", *arguments)
        if failure is not None:
            return {"seconds": seconds, "failure": failure}
        return {"seconds": seconds, **json.loads(said)}

    def _child(self, *arguments: object) -> tuple[str | None, str]:
        command = [sys.executable, __file__, *map(str, arguments)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=self.timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no end within {self.timeout:g} s", ""
        if done.returncode < 0:
            return f"died of signal {-done.returncode}", ""
        if done.returncode:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            return last[:200].replace("|", "/"), ""
        return None, done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def put_samples(samples: Sequence[Sample], path: Path) -> Path:
    """Write samples to a file."""
    np.savez(path, **{f"{i}:{name}": a for i, s in enumerate(samples) for name, a in s.items()})
    return path


def take_samples(path: Path) -> list[Sample]:
    """Read what :func:`put_samples` wrote."""
    found: dict[int, dict[str, Array]] = {}
    with np.load(path) as stored:
        for key in stored.files:
            index, _, name = key.partition(":")
            found.setdefault(int(index), {})[name] = stored[key]
    return [found[index] for index in sorted(found)]


def judge(given: Path, result: Path, samples: Path, threads: int) -> dict[str, Any]:
    """Compare a tool's result with what it was given."""
    found: dict[str, Any] = {"nodes": operators(onnx.load(result)).total()}
    changed = _interface_change(given, result)
    if changed is not None:
        return {**found, "failure": changed}
    feeds = take_samples(samples)
    try:
        plain = SessionConfig(optimize=False)
        reference, candidate = Session(given, plain), Session(result, plain)
        found["error"] = _error(reference, candidate, feeds)
    except EdgeqError as error:
        return {**found, "failure": error.what[:200].replace("|", "/")}
    if isinstance(found["error"], str) or found["error"] > TOLERANCE:
        return {**found, "failure": "wrong output"}
    config = SessionConfig(threads=threads)
    timed = compare_latency(Session(given, config), Session(result, config), feeds, threads=threads)
    return {**found, "latency": round(1 / timed.speedup, 3)}


def _error(reference: Session, candidate: Session, samples: Sequence[Sample]) -> float | str:
    """The largest error of any output, relative to its range; or in what one differs."""
    worst = 0.0
    for sample in samples:
        wanted, got = reference.run(sample), candidate.run(sample)
        for name, array in wanted.items():
            apart = difference(array, got[name])
            if isinstance(apart, str):
                return f"output {name}: {apart}"
            worst = max(worst, apart)
    return worst


def _interface_change(given: Path, result: Path) -> str | None:
    """What a caller would notice: names, order, types; inputs that take less than before."""
    old, new = (Interface.of(loader.load(path).model) for path in (given, result))
    for kind, before, after in (
        ("input", old.inputs, new.inputs),
        ("output", old.outputs, new.outputs),
    ):
        if [(p.name, p.dtype) for p in before] != [(p.name, p.dtype) for p in after]:
            return f"other {kind}s"
        for was, now in zip(before, after, strict=True):
            if kind == "input" and _narrowed(was, now):
                return f"{was} became {now}"
    return None


def _narrowed(was: Port, now: Port) -> bool:
    if was.shape is None or now.shape is None:
        return was.shape != now.shape
    if len(was.shape) != len(now.shape):
        return True
    pairs = zip(was.shape, now.shape, strict=True)
    return any(isinstance(size, int) and not isinstance(old, int) for old, size in pairs)


def _edgeq(model: Path, out: Path) -> None:
    edgeq.optimize(model, validate=False).save(out)


def _edgeq_for_cpu(model: Path, out: Path) -> None:
    edgeq.optimize(model, target="cpu", validate=False).save(out)


def _onnxsim(model: Path, out: Path) -> None:
    import onnxsim

    simplified, equal = onnxsim.simplify(str(model))
    if not equal:
        raise SystemExit("onnxsim says itself that its result is not equal")
    onnx.save(simplified, out)


def _onnxslim(model: Path, out: Path) -> None:
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(model)), out)


def _onnxruntime(level: Any) -> Callable[[Path, Path], None]:
    def save(model: Path, out: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(out)
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    return save


_LEVEL = onnxruntime.GraphOptimizationLevel

TOOLS: dict[str, Callable[[Path, Path], None]] = {
    "edgeq": _edgeq,
    "edgeq --target cpu": _edgeq_for_cpu,
    "onnxsim": _onnxsim,
    "onnxslim": _onnxslim,
    "onnxruntime basic": _onnxruntime(_LEVEL.ORT_ENABLE_BASIC),
    "onnxruntime extended": _onnxruntime(_LEVEL.ORT_ENABLE_EXTENDED),
}
"""Each takes the file of a model and the file to write its own to."""


def main() -> None:
    """Do one step, as a child of ``optimize.py``."""
    match sys.argv[1:]:
        case ["run", tool, model, out]:
            start = time.perf_counter()
            TOOLS[tool](Path(model), Path(out))
            print(json.dumps(round(time.perf_counter() - start, 2)))
        case ["judge", given, result, samples, threads]:
            print(json.dumps(judge(Path(given), Path(result), Path(samples), int(threads))))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
