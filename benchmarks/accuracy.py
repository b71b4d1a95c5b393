"""`edgeq quantize` with its default options on every model of a set.

    python benchmarks/accuracy.py SET [--models A,B] [--eval N] [--json accuracy.json]

Each model is quantized by the command line in a process of its own, with the set's metric on its
held-out data; of the options only --threads is given, 1 unless told. Prints a markdown table; the
whole reports go to the JSON file. The speed-up is the one that edgeq itself measures: fp32 and int8
in turn, in one process, with one thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Entry, machine, parser, read_set, table

HEADER = (
    "model", "metric", "fp32", "int8", "worst SQNR, dB", "coverage", "size", "speed-up, 1 thread",
    "seconds", "verdict",
)  # fmt: skip


def main() -> None:
    """Quantize, print a table and write the reports."""
    line = parser(__doc__)
    line.add_argument("--eval", type=int, metavar="N", help="held-out samples at most; default all")
    line.add_argument("--json", type=Path, default=Path("accuracy.json"), metavar="FILE")
    given = line.parse_args()
    reports, rows = {}, []
    for entry in read_set(given.set, given.models):
        print(f"{entry.name} ...", file=sys.stderr, flush=True)
        report = _quantized(entry, given.eval, given.threads)
        reports[entry.name] = report
        rows.append([entry.name, *_row(report)])
    given.json.write_text(json.dumps({"machine": machine(), "models": reports}, indent=2) + "\n")
    print(f"edgeq quantize with default options; {machine()}\n")
    print(table(HEADER, rows))


def _quantized(entry: Entry, limit: int | None, threads: int) -> dict[str, Any]:
    """The report of one run, with the seconds it took and its exit code added."""
    with tempfile.TemporaryDirectory(prefix="edgeq-accuracy-") as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "edgeq", "quantize", str(entry.model), "--quiet"]
        command += ["--calib", str(entry.calib), "-o", str(Path(folder) / "int8.onnx")]
        command += ["--eval", str(_cut(entry.eval, limit, Path(folder)))]
        command += ["--metric", entry.metric(), "--threads", str(threads)]
        command += ["--report", str(report)]
        start = time.perf_counter()
        done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
        made = json.loads(report.read_text()) if report.is_file() else {}
    said = done.stderr.strip()
    return {**made, "seconds": round(seconds, 1), "exit_code": done.returncode, "said": said}


def _cut(file: Path, limit: int | None, folder: Path) -> Path:
    """The held-out data, or a file with the first of it: only for metrics that go by sample."""
    if limit is None:
        return file
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    count = next(len(a) for name, a in arrays.items() if not name.startswith("label_"))
    # A label that is no column of the samples, say a sampling rate, is kept whole.
    np.savez(
        folder / "eval.npz",
        **{n: a[:limit] if a.ndim and len(a) == count else a for n, a in arrays.items()},
    )
    return folder / "eval.npz"


def _row(report: dict[str, Any]) -> list[str]:
    if "verdict" not in report:
        why = report["said"].splitlines() or ["no message"]
        return [*["-"] * 7, f"{report['seconds']:.0f}", f"exit {report['exit_code']}: {why[0]}"]
    metric = report["accuracy"]["metric"]
    worst = min(o["sqnr_db"] for o in report["accuracy"]["outputs"].values())
    single = [row for row in report["latency"] if row["threads"] == 1]
    return [
        metric["name"].rpartition("#")[2],
        f"{metric['fp32']:.4f}",
        f"{metric['candidate']:.4f}",
        f"{worst:.1f}",
        f"{report['coverage']['ratio']:.1%}",
        f"{report['size']['ratio']:.3f}",
        f"{single[0]['speedup']:.2f}" if single else "-",
        f"{report['seconds']:.0f}",
        report["verdict"],
    ]


if __name__ == "__main__":
    main()
