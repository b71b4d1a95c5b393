"""Models of edgeq and of other tools beside fp32, all in turn in one process.

    python benchmarks/latency.py SET [--models A,B] [--given DIR] [--made DIR] [--seconds S]

DIR of --given holds NAME/TOOL.onnx, what other tools made of the models of the set. Those of edgeq
are made with default options by the command line and left in DIR of --made, where a later run finds
them. Every model runs once a round on the same sample, in an order that changes; a speed-up
is the median over the rounds of the time of fp32, as onnxruntime optimizes it, by the model's.
A result is valid if it loads, runs, and scores within 2 points of fp32 on the held-out samples (a
score that is no fraction: within 2 %).
"""

from __future__ import annotations

import math
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from common import Entry, machine, parser, read_set, table

from edgeq.api.measuring import input_specs, task_score
from edgeq.calibration.sources import open_source
from edgeq.errors import EdgeqError
from edgeq.graph import loader
from edgeq.metrics.named import load_metric
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = "edgeq"
POINTS = 0.02
THREADS = (1, 2)
_SAMPLES = 4
_ROUNDS = (7, 60)


def main() -> None:
    """Make what is missing, score and time everything, print a table for each number of threads."""
    line = parser(__doc__)
    line.add_argument("--given", type=Path, metavar="DIR", help="NAME/TOOL.onnx of other tools")
    line.add_argument("--made", type=Path, metavar="DIR", help="where edgeq's models go")
    line.add_argument("--seconds", type=float, default=20.0, help="a model and number of threads")
    given = line.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeq-latency-") as folder:
        made = given.made or Path(folder)
        entries = read_set(given.set, given.models)
        found = {e.name: _files(e, given.given, made) for e in entries}
        valid = {e.name: _valid(e, found[e.name]) for e in entries}
        print(f"Speed-ups over fp32; {machine()}\n")
        for threads in THREADS:
            print(f"\n{threads} thread{'s' * (threads > 1)}\n")
            _report(
                {e.name: _speedups(e, found[e.name], threads, given.seconds) for e in entries},
                valid,
            )


def _files(entry: Entry, given: Path | None, made: Path) -> dict[str, Path]:
    """Tool -> its model."""
    found = (
        {} if given is None else {p.stem: p for p in sorted((given / entry.name).glob("*.onnx"))}
    )
    ours = made / f"{entry.name}.onnx"
    if not ours.is_file():
        print(f"{entry.name} ...", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "edgeq", "quantize", str(entry.model), "--quiet"]
        subprocess.run([*command, "--calib", str(entry.calib), "-o", str(ours)], check=False)
    return {**found, OURS: ours} if ours.is_file() else found


def _valid(entry: Entry, files: Mapping[str, Path]) -> dict[str, bool]:
    """Whether each result scores as it should."""
    named = entry.metric()
    metric = load_metric(named)
    wanted = _score(entry, entry.model, named)
    found = {}
    for tool, file in files.items():
        try:
            lost = wanted - _score(entry, file, named)
        except EdgeqError:
            found[tool] = False
            continue
        lost = lost if metric.higher_is_better else -lost
        found[tool] = lost <= POINTS * max(1.0, abs(wanted))
    return found


def _score(entry: Entry, model: Path, named: str) -> float:
    source = open_source(entry.eval, input_specs(loader.load(entry.model).model))
    session = Session(model, SessionConfig(threads=1))
    return task_score(load_metric(named), source, [session.run(sample) for sample in source])


def _speedups(
    entry: Entry, files: Mapping[str, Path], threads: int, seconds: float
) -> dict[str, float]:
    """Tool -> median over the rounds of the time of fp32 by its time."""
    sessions = {}
    for tool, file in {"fp32": entry.model, **files}.items():
        try:
            sessions[tool] = Session(file, SessionConfig(threads=threads))
        except EdgeqError as error:
            print(f"{entry.name} {tool}: {error.what}", file=sys.stderr)
    samples, order = entry.held_out(_SAMPLES), sorted(sessions)
    for session in sessions.values():
        session.run(samples[0])
    times: dict[str, list[float]] = {tool: [] for tool in order}
    shuffled, start = random.Random(0), time.perf_counter()
    least, most = _ROUNDS
    for number in range(most):
        if number >= least and time.perf_counter() - start > seconds:
            break
        shuffled.shuffle(order)
        for tool in order:
            began = time.perf_counter()
            sessions[tool].run(samples[number % len(samples)])
            times[tool].append(time.perf_counter() - began)
    fp32 = times.pop("fp32")
    return {
        tool: median(a / b for a, b in zip(fp32, spent, strict=True))
        for tool, spent in times.items()
    }


def _report(
    speedups: Mapping[str, Mapping[str, float]], valid: Mapping[str, Mapping[str, bool]]
) -> None:
    """One table, and the geometric means."""
    tools = sorted({tool for found in speedups.values() for tool in found} - {OURS})
    rows, ours, over_best = [], [], []
    for name, found in speedups.items():
        good = {tool: x for tool, x in found.items() if valid[name].get(tool)}
        best = max((x for tool, x in good.items() if tool != OURS), default=None)
        cells = [_cell(found.get(tool), valid[name].get(tool, False)) for tool in (*tools, OURS)]
        if OURS in good:
            ours.append(good[OURS])
            over_best.append(good[OURS] / (best or 1.0))
        rows.append([name, *cells, f"{best:.2f}" if best else "-"])
    print(table(["model", *tools, OURS, "best valid other"], rows))
    print(f"\ngeometric mean over fp32 {_mean(ours):.2f}, over the best valid other ", end="")
    print(f"{_mean(over_best):.2f} (over fp32 where there is none); in brackets: not valid")


def _cell(speedup: float | None, good: bool) -> str:
    if speedup is None:
        return "-"
    return f"{speedup:.2f}" if good else f"({speedup:.2f})"


def _mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


if __name__ == "__main__":
    main()
