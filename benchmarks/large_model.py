"""A model of more than 2 GB through `edgeq quantize`: peak memory, and what an interruption leaves.

    python benchmarks/large_model.py [--gigabytes 2.2] [--folder DIR] [--] [ARGUMENTS]

The model is made here: an embedding, layers of two products each with a residual sum, an output
layer; random weights, in external data that is written layer by layer. It is quantized in a
process of its own with ARGUMENTS (`--scheme w4` when there are none) and run. Further processes are
interrupted as by Ctrl-C at several moments, the last as soon as the output is being written: they
may leave nothing behind, neither where the output goes nor among temporary files, and the model and
an output that was there before have to be what they were.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import onnx
from common import machine, table
from onnx import TensorProto, helper

from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH, INNER, WORDS = 1024, 4096, 16384
_LAYER_BYTES = 2 * 4 * WIDTH * INNER
_CTRL_C = 130
_SAID = "error: interrupted, nothing was written"
_POLL_SECONDS = 0.005


class _Weights:
    """Random matrices that go to a data file as soon as they are made."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._random = np.random.default_rng(0)
        self.tensors: list[onnx.TensorProto] = []

    def add(self, name: str, rows: int, columns: int) -> str:
        data = self._random.standard_normal((rows, columns), np.float32) / np.float32(rows**0.5)
        made = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[rows, columns])
        made.data_location = TensorProto.EXTERNAL
        place = {"location": Path(self._file.name).name, "offset": self._file.tell()}
        for key, value in {**place, "length": data.nbytes}.items():
            made.external_data.add(key=key, value=str(value))
        self._file.write(data.tobytes())
        self.tensors.append(made)
        return name


def make(path: Path, size: float) -> int:
    """Write a model of about ``size`` bytes of weights; returns its exact size in bytes."""
    layers = max(1, round((size - 8 * WORDS * WIDTH) / _LAYER_BYTES))
    data = path.with_name(f"{path.name}.data")
    with data.open("wb") as file:
        weights = _Weights(file)
        nodes = list(_nodes(layers, weights))
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "length", WORDS])],
        weights.tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path.stat().st_size + data.stat().st_size


def _nodes(layers: int, weights: _Weights) -> Iterator[onnx.NodeProto]:
    yield helper.make_node("Gather", [weights.add("words", WORDS, WIDTH), "ids"], ["h0"])
    for n in range(layers):
        up, down = (
            weights.add(f"up{n}", WIDTH, INNER),
            weights.add(f"down{n}", INNER, WIDTH),
        )
        yield helper.make_node("MatMul", [f"h{n}", up], [f"u{n}"], name=f"up{n}")
        yield helper.make_node("Tanh", [f"u{n}"], [f"t{n}"])
        yield helper.make_node("MatMul", [f"t{n}", down], [f"d{n}"], name=f"down{n}")
        yield helper.make_node("Add", [f"h{n}", f"d{n}"], [f"h{n + 1}"])
    head = weights.add("head", WIDTH, WORDS)
    yield helper.make_node("MatMul", [f"h{layers}", head], ["logits"], name="head")


def quantize(model: Path, out: Path, arguments: Sequence[str]) -> tuple[int, float, float]:
    """Exit code, seconds and peak memory in MB of a process that quantizes."""
    start = time.perf_counter()
    child = subprocess.Popen(_command(model, out, arguments))
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6


@dataclass(frozen=True, slots=True)
class Moment:
    """When a process is interrupted.

    Attributes:
        name: What it is doing then.
        share: The part of the time of a whole run that is over; None for as soon as it writes.
    """

    name: str
    share: float | None

    def has_come(self, seconds: float, whole: float, out: Path) -> bool:
        """Whether it has come for a process that has run for some seconds."""
        if self.share is not None:
            return seconds >= self.share * whole
        return any(path.name != out.name for path in out.parent.iterdir())


MOMENTS = (
    Moment("begins", 0.02),
    Moment("quantizes", 0.3),
    Moment("quantizes", 0.6),
    Moment("runs the result", 0.75),
    Moment("writes", None),
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an interrupted process ended.

    Attributes:
        seconds: When it was interrupted.
        ended_in: Seconds from then to its end.
        code: Its exit code.
        said: What it wrote to stderr.
        changed: Files that are new, gone, or others than before.
    """

    seconds: float
    ended_in: float
    code: int
    said: str
    changed: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether it ended as promised, and left everything as it was."""
        told = self.code == _CTRL_C and self.said.strip() == _SAID
        return told and not self.changed


def interrupt(
    model: Path, out: Path, arguments: Sequence[str], moment: Moment, whole: float
) -> Ending:
    """Send a process that quantizes what Ctrl-C sends, and look at what it leaves.

    Args:
        model: In a folder of its own, everything in which is looked at.
        out: Where the output goes, below that folder; a file that is there already has to stay.
        arguments: For the command line.
        moment: When.
        whole: Seconds that an undisturbed run takes.
    """
    folder = model.parent
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    out.write_bytes(b"what was there before")
    before = _digests(folder)
    start = time.perf_counter()
    child = subprocess.Popen(
        _command(model, out, arguments), stderr=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(scratch)},
    )  # fmt: skip
    while child.poll() is None and not moment.has_come(time.perf_counter() - start, whole, out):
        time.sleep(_POLL_SECONDS)
    sent = time.perf_counter()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate()
    ended, now = time.perf_counter(), _digests(folder)
    changed = sorted(path for path in before | now if before.get(path) != now.get(path))
    return Ending(sent - start, ended - sent, child.returncode, said, tuple(changed))


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_dir():
            found[str(path)] = "folder"
            continue
        with path.open("rb") as file:
            found[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _command(model: Path, out: Path, arguments: Sequence[str]) -> list[str]:
    command = [sys.executable, "-m", "edgeq", "quantize", str(model), "-o", str(out)]
    return [*command, *(arguments or ("--scheme", "w4")), "--quiet"]


def _report(model: Path, out: Path, arguments: Sequence[str], seconds: float) -> None:
    """Interrupt at each moment, and print what that left."""
    rows, clean = [], True
    for moment in MOMENTS:
        ending = interrupt(model, out, arguments, moment, seconds)
        clean &= ending.is_clean
        changed = ", ".join(ending.changed) or "nothing"
        times = (f"{ending.seconds:.1f}", f"{ending.ended_in:.1f}")
        rows.append([moment.name, *times, str(ending.code), ending.said.strip(), changed])
    header = ["interrupted as it", "after, s", "ended in, s", "exit code", "said", "changed"]
    print("\n" + table(header, rows))
    if not clean:
        raise SystemExit("an interruption left something, or was told otherwise than promised")


def main() -> None:
    """Make the model, quantize it, interrupt that, and print tables."""
    line = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    line.add_argument("--gigabytes", type=float, default=2.2, help="of weights (2.2)")
    line.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    given, arguments = line.parse_known_args()
    # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments = [each for each in arguments if each != "--"]
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        model, out = Path(folder) / "model.onnx", Path(folder) / "out" / "small.onnx"
        out.parent.mkdir()
        size = make(model, given.gigabytes * 1e9)
        code, seconds, peak = quantize(model, out, arguments)
        if code:
            raise SystemExit(f"edgeq quantize ended with exit code {code}")
        answer = Session(out, SessionConfig()).run({"ids": np.arange(4)[None]})["logits"]
        made = sum(path.stat().st_size for path in out.parent.iterdir())
        print(machine() + "\n")
        header = ["fp32 MB", "quantized MB", "seconds", "peak MB", "finite outputs"]
        row = [f"{size / 1e6:.0f}", f"{made / 1e6:.0f}", f"{seconds:.0f}", f"{peak:.0f}"]
        print(table(header, [[*row, "yes" if np.isfinite(answer).all() else "no"]]), flush=True)
        out.unlink()
        _report(model, out, arguments, seconds)


if __name__ == "__main__":
    main()
