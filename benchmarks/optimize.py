"""`edgeq optimize` on models as they are found, and on spelled-out variants of clean ones.

    python benchmarks/optimize.py SET [--models A,B] [--variants original,batch-norm,nhwc]
                                      [--samples 4] [--no-latency] [--peers] [-o optimize.json]

The clean model is what edgeq makes of a model of the set. ``undo.py`` spells out in a variant what
clean-ups had folded, and edgeq should get the clean model back: as few nodes, and as fast, both as
onnxruntime loads them with default options, run in turn in one process. A latency of more than
5 % beyond the clean model's is marked with (!). Nodes are those that compute: bodies count,
functions count where they are called, Constant nodes do not. With --peers every tool of
``peers.py`` gets the same files, each in a process of its own. The JSON file tells, for each
variant, the operators that edgeq leaves beyond the clean model's, and its reasons.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import Entry, machine, operators, parser, read_set, table
from peers import TOOLS, Trial, put_samples
from undo import VARIANTS, Undone, chosen, cleaned, undo

import edgeq
from edgeq.errors import EdgeqError
from edgeq.graph import loader, saver
from edgeq.passes.proof import prove
from edgeq.runtime.latency import compare_latency
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from edgeq.api import OptimizationResult
    from edgeq.types import Sample

HEADER = ("model", "variant", "nodes", "edgeq", "clean", "beyond clean", "error", "latency / clean",
          "seconds", "left out")  # fmt: skip
PEER_HEADER = (
    "model",
    "variant",
    "tool",
    "nodes",
    "latency / given",
    "error",
    "seconds",
    "failure",
)

ORIGINAL = "original"
"""The model as it was found, named as a variant. Its own latency is what its result goes by."""

_SLOWER = 1.05


def main() -> None:
    """Optimize, print tables and write what was found."""
    given = _given()
    wanted = None if given.variants is None else given.variants.split(",")
    rows: list[dict[str, Any]] = []
    trials: list[dict[str, Any]] = []
    for entry in read_set(given.set, given.models):
        samples = entry.samples(given.samples)
        original = loader.load(entry.model).model
        clean = cleaned(entry.model, samples)
        threads = None if given.no_latency else given.threads
        for name, undone in _variants(entry, original, clean, samples, wanted):
            print(f"{entry.name}.{name} ...", file=sys.stderr, flush=True)
            row = {"model": entry.name, "variant": name, **_row(undone, samples, threads)}
            rows.append(row)
            if given.peers:
                found = _trials(undone, samples, given.threads, given.timeout)
                trials += [{"model": entry.name, "variant": name, **trial} for trial in found]
    if given.output is not None:
        document = {"machine": machine(), "variants": rows, "peers": trials}
        given.output.write_text(json.dumps(document, indent=2) + "\n")
    print(f"edgeq optimize; {machine()}, {given.threads} threads\n")
    print(table(HEADER, map(_told, rows)))
    if trials:
        print()
        print(table(PEER_HEADER, map(_trial_told, trials)))


def _given() -> Any:
    line = parser(__doc__)
    names = ", ".join((ORIGINAL, *VARIANTS))
    line.add_argument("--variants", metavar="A,B", help=f"of {names}; default: all")
    line.add_argument("--samples", type=int, default=4, help="to run models on (4)")
    line.add_argument("--no-latency", action="store_true", help="count nodes only")
    line.add_argument("--peers", action="store_true", help=f"also {', '.join(TOOLS)}")
    line.add_argument("--timeout", type=float, default=300, help="of a peer, in seconds (300)")
    line.add_argument("-o", "--output", type=Path, metavar="FILE", help="JSON with all figures")
    return line.parse_args()


def _variants(
    entry: Entry,
    original: ir.Model,
    clean: ir.Model,
    samples: list[Sample],
    wanted: list[str] | None,
) -> Iterator[tuple[str, Undone]]:
    """The model as it was found, and each variant that differs from the clean one."""
    if wanted is None or ORIGINAL in wanted:
        yield ORIGINAL, Undone(original, original, 0, None)
    spelled = None if wanted is None else ",".join(name for name in wanted if name != ORIGINAL)
    for name, variant in chosen(spelled).items() if spelled != "" else ():
        undone = undo(clean, variant, samples)
        if undone.failure is not None:
            print(f"{entry.name}.{name} is not equal: {undone.failure}", file=sys.stderr)
        elif undone.places:
            yield name, undone


def _row(undone: Undone, samples: list[Sample], threads: int | None) -> dict[str, Any]:
    """What edgeq makes of a variant."""
    given, clean = (operators(saver.to_proto(model)) for model in (undone.model, undone.clean))
    row: dict[str, Any] = {"nodes": given.total(), "clean": clean.total()}
    start = time.perf_counter()
    try:
        result = edgeq.optimize(undone.model, samples, validate=False)
    except EdgeqError as error:
        return {**row, "failure": str(error)}
    row["seconds"] = round(time.perf_counter() - start, 2)
    left = operators(saver.to_proto(result.model))
    proof = prove(undone.model, result.model, samples)
    row |= {
        "edgeq": left.total(),
        "beyond": dict(left - clean),
        "missing": dict(clean - left),
        "error": proof.error if proof.failure is None else proof.failure,
        **_passes(result),
    }
    if threads is not None:
        row["latency"] = _latency(undone.clean, result.model, samples, threads)
    return row


def _passes(result: OptimizationResult) -> dict[str, Any]:
    report = result.report
    return {
        "dropped": {each.name: each.reason for each in report.dropped},
        "declined": {each.name: list(each.declined) for each in report.passes if each.declined},
        "slowest": {
            each.name: round(each.seconds, 2)
            for each in sorted(report.passes, key=lambda each: -each.seconds)[:3]
        },
    }


def _latency(clean: ir.Model, model: ir.Model, samples: list[Sample], threads: int) -> float:
    """Time of ``model`` / time of ``clean``; what looks slower is timed once more, for longer."""
    config = SessionConfig(threads=threads)
    sessions = Session(clean, config), Session(model, config)
    ratio = 1 / compare_latency(*sessions, samples, threads=threads).speedup
    if ratio > _SLOWER:
        longer = compare_latency(*sessions, samples, threads=threads, max_rounds=200, seconds=8)
        ratio = 1 / longer.speedup
    return round(ratio, 3)


def _told(row: dict[str, Any]) -> list[object]:
    start = [row["model"], row["variant"], row["nodes"]]
    if "failure" in row:
        return [*start, "-", row["clean"], row["failure"], *["-"] * 4]
    original = row["variant"] == ORIGINAL
    beyond = "" if original else ", ".join(f"{op} {n}" for op, n in row["beyond"].items())
    return [
        *start,
        row["edgeq"],
        "" if original else row["clean"],
        beyond,
        _number(row["error"]),
        _ratio(row.get("latency")),
        row["seconds"],
        ", ".join(row["dropped"]),
    ]


def _trials(
    undone: Undone, samples: list[Sample], threads: int, timeout: float
) -> Iterator[dict[str, Any]]:
    """What every tool makes of a variant."""
    with tempfile.TemporaryDirectory(prefix="edgeq-peers-") as name:
        folder = Path(name)
        given = folder / "given.onnx"
        saver.save(undone.model, given)
        data = put_samples(samples, folder / "samples.npz")
        for tool in TOOLS:
            yield {"tool": tool, **Trial(tool, given, data, threads, timeout).run()}


def _trial_told(trial: dict[str, Any]) -> list[object]:
    start = [trial["model"], trial["variant"], trial["tool"]]
    return [
        *start,
        trial.get("nodes", "-"),
        _ratio(trial.get("latency")),
        _number(trial.get("error", "-")),
        trial.get("seconds", "-"),
        trial.get("failure") or "",
    ]


def _number(error: object) -> str:
    return f"{error:.1e}" if isinstance(error, float) else str(error)


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio:.2f} (!)" if ratio > _SLOWER else f"{ratio:.2f}"


if __name__ == "__main__":
    main()
