"""Weights in blocks beside onnxruntime's own: score, size, speed and peak memory, in one run.

    python benchmarks/language_model.py SET [--models A,B] [--rows A,B] [--samples N]
                                        [--peers PYTHON]

Each model is quantized in a process of its own, by edgeq with the calibration samples of the set,
and with --peers by every method of onnxruntime's matmul_nbits_quantizer and its dynamic
quantization under that interpreter (hqq and gptq need torch there). Everything is scored in turn
by `edgeq evaluate` on the held-out samples: the main metric of the set with its interval where
that is perplexity, and time against fp32. The peak is that of the process that quantizes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common import machine, parser, read_set, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common import Entry

PEER = Path(__file__).with_name("nbits_peer.py")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to quantize.

    Attributes:
        name: As the table calls it.
        arguments: Of `edgeq quantize`, or of nbits_peer.py behind model and output.
        is_peer: Whether it is the latter.
    """

    name: str
    arguments: tuple[str, ...]
    is_peer: bool = False


def _ours() -> list[Candidate]:
    def sized(scheme: str, size: str, *rest: str) -> Candidate:
        name = " ".join((scheme, size, *rest[1:]))
        return Candidate(name, ("--scheme", scheme, "--block-size", size, *rest))

    return [
        Candidate("w8", ("--scheme", "w8")),
        *(sized("w4", size) for size in ("32", "64", "128")),
        *(sized("w4", "64", "--target-bits", bits) for bits in ("5", "5.5")),
        sized("w4", "32", "--target-bits", "6"),
        sized("w4", "32", "--method", "k-quant"),
        *(sized("w2", size) for size in ("32", "64")),
        Candidate("dynamic", ("--scheme", "dynamic")),
    ]


def _theirs() -> list[Candidate]:
    rows = [("default", 4, 32), ("default", 4, 64), ("default", 4, 128), ("default", 8, 32)]
    rows += [("default", 2, 32), ("default+gather", 4, 32)]
    rows += [(kind, 4, 32) for kind in ("rtn", "hqq", "k_quant", "gptq")]
    made = [
        Candidate(f"onnxruntime {kind} {bits} bits {block}", (kind, str(bits), str(block)), True)
        for kind, bits, block in rows
    ]
    return [*made, Candidate("onnxruntime dynamic", ("dynamic", "8", "0"), True)]


def main() -> None:
    """Measure and print a table for each model."""
    line = parser(__doc__)
    line.add_argument("--samples", type=int, help="held-out samples to score on; default: all")
    line.add_argument(
        "--rows", default="", help="rows whose name contains one of A,B; default: all"
    )
    line.add_argument("--peers", metavar="PYTHON", help="interpreter that has onnxruntime, torch")
    line.add_argument("--limit", type=int, default=1800, help="seconds to quantize at most (1800)")
    given = line.parse_args()
    candidates = [*_ours(), *(_theirs() if given.peers else [])]
    parts = given.rows.split(",")
    chosen = [each for each in candidates if any(part in each.name for part in parts)]
    for entry in read_set(given.set, given.models):
        print(f"**{entry.name}**; {machine()}, {given.threads} threads\n", flush=True)
        header = ["candidate", "MB", "score", "interval", "time of fp32 / its own",
                  "quantize s", "peak MB"]  # fmt: skip
        print(table(header, []), flush=True)
        score = _score(entry.model, entry, given.samples, given.threads)
        _print("fp32", entry.model, score, score, ("", ""))
        with tempfile.TemporaryDirectory() as folder:
            for each in chosen:
                _one(each, entry, score, Path(folder), given)
        print(flush=True)


def _one(each: Candidate, entry: Entry, fp32: dict, folder: Path, given: object) -> None:
    out = folder / "candidate.onnx"
    out.unlink(missing_ok=True)
    seconds, peak, said = _quantized(each, entry, out, given.peers, given.limit)
    if not out.is_file():
        print(f"| {each.name} | failed: {said} | | | | {seconds:.0f} | {peak:.0f} |", flush=True)
        return
    try:
        found = _score(out, entry, given.samples, given.threads)
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines()[-1:] or ["no message"]
        print(f"| {each.name} | does not run: {said[0][:80]} | | | | | |", flush=True)
        return
    _print(each.name, out, found, fp32, (f"{seconds:.0f}", f"{peak:.0f}"))


def _print(name: str, path: Path, found: dict, fp32: dict, rest: Sequence[str]) -> None:
    metric = found["metric"]
    low, high = metric.get("low"), metric.get("high")
    interval = "" if low is None else f"{low:.2f} to {high:.2f}"
    size = f"{path.stat().st_size / 1e6:.1f}"
    speed = f"{fp32['seconds'] / found['seconds']:.2f}"
    row = [name, size, f"{metric['value']:.3f}", interval, speed, *rest]
    print("| " + " | ".join(row) + " |", flush=True)


def _quantized(
    each: Candidate, entry: Entry, out: Path, peers: str | None, limit: int
) -> tuple[float, float, str]:
    """Seconds, peak memory in MB, and the last line it said."""
    if each.is_peer:
        command = [str(peers), str(PEER), str(entry.model), str(out), *each.arguments]
        command += [str(entry.calib)] if each.arguments[0] == "gptq" else []
    else:
        command = [sys.executable, "-m", "edgeq", "quantize", str(entry.model), "-o", str(out)]
        command += [*each.arguments, "--keep-best", "--no-validate", "--quiet"]
        command += [] if "k-quant" in each.arguments else ["--calib", str(entry.calib)]
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=said, stderr=said)
        usage = _waited(child, start + limit)
        seconds = time.perf_counter() - start
        said.seek(0)
        last = (said.read().strip().splitlines() or ["no message"])[-1][:80]
    return seconds, usage, last


def _waited(child: subprocess.Popen[bytes], until: float) -> float:
    """Peak memory of a child in MB (10^6 bytes); it is ended when its time is over."""
    while True:
        done, _, usage = os.wait4(child.pid, os.WNOHANG)
        if done:
            child.returncode = 0
            return usage.ru_maxrss * 1024 / 1e6
        if time.perf_counter() > until:
            child.kill()
            until = float("inf")
        time.sleep(0.05)


def _score(model: Path, entry: Entry, samples: int | None, threads: int) -> dict:
    metric = entry.metric()
    metric = "perplexity" if metric.endswith("#perplexity") else metric
    command = [sys.executable, "-m", "edgeq", "evaluate", str(model), "--data", str(entry.eval)]
    command += ["--metric", metric, "--threads", str(threads), "--json"]
    command += ["--max-samples", str(samples)] if samples else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
