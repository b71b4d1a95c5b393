"""ONNX's own backend tests through `edgeq optimize`: what onnxruntime computed right, stays right.

    python benchmarks/backend_suite.py [--cases NAME,NAME] [--target cpu] [--seconds 120]
                                       [-o backend_suite.json]

Each case that onnxruntime gets right is optimized twice, with the case's inputs as samples and
without any, and must give the expected outputs both times, within the tolerance of the case.
onnxruntime's own rewriting is off. Cases run in a child process; one that kills it, or that takes
longer than --seconds, counts as crashed, and the next child goes on behind it. Declined are
models that edgeq refuses with a reason. Passes that edgeq itself had to leave out are listed,
too: the result is right, but the pass was not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import subprocess
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime
from backend_cases import Case, node_cases, stored_cases
from common import machine, table

import edgeq
from edgeq.errors import EdgeqError
from edgeq.graph import loader, saver
from edgeq.graph.interface import Interface, differences

MODES = ("with samples", "without")
VERDICTS = ("right", "wrong", "crashed", "declined")


def main() -> None:
    """Run the cases and print counts and offenders."""
    line = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    line.add_argument("--cases", metavar="A,B", help="names of cases; default: all")
    line.add_argument("--target", help="optimize for a target")
    line.add_argument("--seconds", type=float, default=120, help="that a case may take (120)")
    line.add_argument("-o", "--output", type=Path, metavar="FILE", help="JSON of all results")
    line.add_argument("--child", type=int, metavar="FIRST", help="run in this process, from FIRST")
    given = line.parse_args()
    if given.child is not None:
        _run_from(given.child, given.cases, given.target)
        return
    arguments = [*(["--cases", given.cases] if given.cases else [])]
    arguments += ["--target", given.target] if given.target else []
    rows = _supervised(arguments, given.seconds)
    if given.output is not None:
        given.output.write_text(json.dumps({"machine": machine(), "cases": rows}, indent=1) + "\n")
    _print(rows)


def _supervised(arguments: list[str], seconds: float) -> list[dict[str, Any]]:
    """Results of all cases; a child that dies is followed by one that begins behind its case."""
    rows: list[dict[str, Any]] = []
    while True:
        command = [sys.executable, __file__, "--child", str(len(rows)), *arguments]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        begun = None
        for said in _lines(child, seconds):
            if said.get("end"):
                child.wait()
                return rows
            if "ran" in said:
                rows.append(said)
            begun = None if "ran" in said else said["case"]
        code = child.wait()
        if begun is None:
            raise SystemExit(f"the child ended with {code} behind case {len(rows)}")
        why = f"the process ended with {code}"
        rows.append({"case": begun, "ran": True, **{mode: ["crashed", why] for mode in MODES}})


def _lines(child: subprocess.Popen[str], seconds: float) -> Any:
    """What the child says, until it ends or is silent for too long and is killed."""
    said: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in child.stdout or ():
            said.put(line)
        said.put(None)

    threading.Thread(target=read, daemon=True).start()
    # The first line comes when all cases are made.
    for wait in itertools.chain([600], itertools.repeat(seconds)):
        try:
            line = said.get(timeout=wait)
        except queue.Empty:
            child.kill()
            return
        if line is None:
            return
        yield json.loads(line)


def _run_from(first: int, names: str | None, target: str | None) -> None:
    warnings.simplefilter("ignore")
    wanted = None if names is None else set(names.split(","))
    cases = (c for c in itertools.chain(node_cases(), stored_cases()))
    chosen = (case for case in cases if wanted is None or case.name in wanted)
    for case in itertools.islice(chosen, first, None):
        print(json.dumps({"case": case.name}), flush=True)
        print(json.dumps({"case": case.name, **_result(case, target)}), flush=True)
    print(json.dumps({"end": True}), flush=True)


def _result(case: Case, target: str | None) -> dict[str, Any]:
    before = _outputs(case.model.SerializeToString(), case)
    if isinstance(before, str):
        return {"ran": False, "why": before}
    off = case.difference(before)
    if off is not None:
        return {"ran": False, "why": f"onnxruntime is off: {off}"}
    found: dict[str, Any] = {"ran": True}
    for mode, samples in zip(MODES, (case.feeds, None), strict=True):
        found[mode] = _optimized(case, samples, target)
    return found


def _optimized(case: Case, samples: Any, target: str | None) -> list[Any]:
    """A verdict and what is to be said about it."""
    try:
        result = edgeq.optimize(case.model, samples, target=target, validate=False)
        changed = [
            *differences(Interface.of(loader.load(case.model).model), Interface.of(result.model))
        ]
        data = saver.to_bytes(result.model)
    except EdgeqError as error:
        return ["declined", f"{type(error).__name__}: {error.what}"]
    except Exception as error:
        return ["crashed", f"{type(error).__name__}: {error}"]
    dropped = {each.name: each.reason for each in result.report.dropped}
    after = _outputs(data, case)
    off = after if isinstance(after, str) else case.difference(after)
    if off is not None or changed:
        return ["wrong", off or f"interface: {changed}", dropped]
    nodes = result.report.before.nodes, result.report.after.nodes
    return ["right", list(nodes), dropped]


def _outputs(model: bytes, case: Case) -> list[list[Any]] | str:
    """What onnxruntime computes for each set of data; or why it does not."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = {value.name for value in session.get_inputs()}
        return [
            session.run(None, {k: v for k, v in feed.items() if k in names}) for feed in case.feeds
        ]
    except Exception as error:
        return str(error).splitlines()[0][:300]


def _print(rows: list[dict[str, Any]]) -> None:
    ran = [row for row in rows if row["ran"]]
    print(f"{len(rows)} cases, {len(ran)} that onnxruntime gets right; {machine()}\n")
    counts = {mode: Counter(row[mode][0] for row in ran) for mode in MODES}
    print(
        table(
            ("edgeq optimize", *VERDICTS),
            ([m, *(c[v] for v in VERDICTS)] for m, c in counts.items()),
        )
    )
    for mode in MODES:
        for row in ran:
            verdict, told, *dropped = row[mode]
            if verdict != "right":
                print(f"- {row['case']}, {mode}: {verdict}: {told}")
            if dropped and dropped[0]:
                print(f"- {row['case']}, {mode}: {verdict}, but left out {dropped[0]}")


if __name__ == "__main__":
    main()
