"""Weights in blocks beside onnxruntime's own: score, size, speed and peak memory, in one run.

    python benchmarks/language_model.py SET [--models A,B] [--rows A,B] [--samples N]
                                        [--peers PYTHON] [--keep FILE]

Each model is quantized in a process of its own, by edgeq with the calibration samples of the set,
and with --peers by every method of onnxruntime's matmul_nbits_quantizer and its dynamic
quantization under that interpreter (hqq and gptq need torch there). A model with a cache is
quantized with the cache in floats and in integers instead, which the peer does not do: it does its
default to the weights alone. Everything
is scored in turn by `edgeq evaluate` on the held-out samples: the main metric of the set with its
interval where that is perplexity, and the tokens read and written a second over those of fp32, both
in turn in one process (time against fp32 for what is no language model). The peak is that of the
process that quantizes. A row of --rows is the name of one, or a part of the names of several.
With --keep each row is kept as it comes, and a second run measures what is missing.
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

from edgeq.graph import loader
from edgeq.graph.cache_ports import cache_ports

if TYPE_CHECKING:
    import argparse
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
        *(sized("w4", size, "--layer-bits", "*=4") for size in ("32", "64")),
        *(sized("w4", "64", "--target-bits", bits) for bits in ("5", "5.5", "6")),
        sized("w4", "32", "--target-bits", "6"),
        sized("w4", "32", "--method", "k-quant"),
        *(sized("w4", size, "--method", m) for size in ("32", "64") for m in ("awq", "auto")),
        *(sized("w2", size) for size in ("32", "64")),
        Candidate("dynamic", ("--scheme", "dynamic")),
    ]


def _cached() -> list[Candidate]:
    forms = ("float32", "int8", "int4")
    return [
        Candidate("w8", ("--scheme", "w8")),
        *(Candidate(f"w8 cache {f}", ("--scheme", "w8", "--kv-cache", f)) for f in forms),
        Candidate("w4 32", ("--scheme", "w4")),
        Candidate("w4 32 cache float32", ("--scheme", "w4", "--kv-cache", "float32")),
    ]


def _default_of_theirs() -> list[Candidate]:
    return _peers([("default", 4, 32), ("default", 8, 32)])


def _theirs() -> list[Candidate]:
    rows = [("default", 4, 32), ("default", 4, 64), ("default", 4, 128), ("default", 8, 32)]
    rows += [("default", 8, 128), ("default", 2, 32), ("default+gather", 4, 32)]
    rows += [(kind, 4, size) for size in (32, 64) for kind in ("rtn", "hqq", "k_quant", "gptq")]
    rows += [("hqq", 4, 128)]
    return [*_peers(rows), Candidate("onnxruntime dynamic", ("dynamic", "8", "0"), True)]


def _peers(rows: Sequence[tuple[str, int, int]]) -> list[Candidate]:
    return [
        Candidate(f"onnxruntime {kind} {bits} bits {block}", (kind, str(bits), str(block)), True)
        for kind, bits, block in rows
    ]


def main() -> None:
    """Measure and print a table for each model."""
    line = parser(__doc__)
    line.add_argument("--samples", type=int, help="held-out samples to score on; default: all")
    line.add_argument(
        "--rows", default="", help="rows whose name contains one of A,B; default: all"
    )
    line.add_argument("--peers", metavar="PYTHON", help="interpreter that has onnxruntime, torch")
    line.add_argument("--limit", type=int, default=3600, help="seconds to quantize at most (3600)")
    line.add_argument("--keep", type=Path, help="file of the rows that are measured already")
    given = line.parse_args()
    for entry in read_set(given.set, given.models):
        print(f"**{entry.name}**; {machine()}, {given.threads} threads\n", flush=True)
        header = [
            "candidate",
            "MB",
            "score",
            "interval",
            "speed over fp32",
            "quantize s",
            "peak MB",
        ]
        print(table(header, []), flush=True)
        kept = _kept(given.keep, entry.name)
        fp32 = _score(entry.model, entry, given.samples, given.threads)
        _print(["fp32", *_scored(entry.model, fp32), "", "", ""])
        with tempfile.TemporaryDirectory() as folder:
            for each in _chosen(_candidates(entry, peers=bool(given.peers)), given.rows):
                row = kept.get(each.name) or _row(each, entry, fp32, Path(folder), given)
                _print(row)
                if given.keep and each.name not in kept:
                    with given.keep.open("a") as file:
                        file.write(json.dumps({"model": entry.name, "row": row}) + "\n")
        print(flush=True)


def _candidates(entry: Entry, *, peers: bool) -> list[Candidate]:
    """Those that suit a model."""
    has_cache = bool(cache_ports(loader.load(entry.model).model))
    ours, theirs = (_cached, _default_of_theirs) if has_cache else (_ours, _theirs)
    return [*ours(), *(theirs() if peers else [])]


def _chosen(candidates: list[Candidate], rows: str) -> list[Candidate]:
    """Those that are asked for by name, or by a part of it that is no name."""
    names = {each.name for each in candidates}
    parts = rows.split(",")
    return [
        each
        for each in candidates
        if any(part == each.name or (part not in names and part in each.name) for part in parts)
    ]


def _kept(file: Path | None, model: str) -> dict[str, list[str]]:
    if file is None or not file.is_file():
        return {}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {line["row"][0]: line["row"] for line in lines if line["model"] == model}


def _print(row: Sequence[str]) -> None:
    print("| " + " | ".join(row) + " |", flush=True)


def _row(
    each: Candidate, entry: Entry, fp32: dict, folder: Path, given: argparse.Namespace
) -> list[str]:
    out = folder / "candidate.onnx"
    out.unlink(missing_ok=True)
    seconds, peak, said = _quantized(each, entry, out, given.peers, given.limit)
    effort = [f"{seconds:.0f}", f"{peak:.0f}"]
    if not out.is_file():
        return [each.name, f"failed: {said}", "", "", "", *effort]
    try:
        score = _score_beside if "--kv-cache" in each.arguments else _score
        found = score(out, entry, given.samples, given.threads)
        speed = _speed(out, entry, found, fp32, given.threads)
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["no message"])[-1]
        return [each.name, f"does not run: {said[:80]}", "", "", "", *effort]
    return [each.name, *_scored(out, found), speed, *effort]


def _scored(path: Path, found: dict) -> list[str]:
    metric = found["metric"]
    low, high = metric.get("low"), metric.get("high")
    interval = "" if low is None else f"{low:.2f} to {high:.2f}"
    return [f"{path.stat().st_size / 1e6:.1f}", f"{metric['value']:.3f}", interval]


def _speed(out: Path, entry: Entry, found: dict, fp32: dict, threads: int) -> str:
    if not _is_language_model(entry):
        return f"{fp32['seconds'] / found['seconds']:.2f}"
    command = [sys.executable, "-m", "edgeq", "evaluate", str(out), "--against", str(entry.model)]
    command += ["--decode", "16", "--contexts", "64", "--threads", str(threads), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (row,) = json.loads(done.stdout)["contexts"]
    paces = ("prefill_tokens_per_second", "decode_tokens_per_second")
    read, written = (row["model"][pace] / row["reference"][pace] for pace in paces)
    return f"{read:.2f} reading, {written:.2f} writing"


def _is_language_model(entry: Entry) -> bool:
    return entry.metric().endswith("#perplexity")


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
    metric = "perplexity" if _is_language_model(entry) else entry.metric()
    command = [sys.executable, "-m", "edgeq", "evaluate", str(model), "--data", str(entry.eval)]
    command += ["--metric", metric, "--threads", str(threads), "--json"]
    command += ["--max-samples", str(samples)] if samples else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def _score_beside(model: Path, entry: Entry, samples: int | None, threads: int) -> dict:
    """Of a model whose cache is another one at the interface: conversions stand around it."""
    command = [sys.executable, "-m", "edgeq", "validate", str(entry.model), str(model)]
    command += ["--data", str(entry.eval), "--metric", "perplexity", "--max-drop", "1000%"]
    command += ["--threads", str(threads), "--json"]
    command += ["--max-samples", str(samples)] if samples else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"metric": {"value": json.loads(done.stdout)["accuracy"]["metric"]["candidate"]}}


if __name__ == "__main__":
    main()
