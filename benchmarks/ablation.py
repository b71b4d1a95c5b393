"""What each recovery step brings: SQNR on held-out data with one step, and seconds.

    python benchmarks/ablation.py SET [--models A,B] [--samples 64] [--eval 64] [--calibrator mse]

Every model is calibrated once. Each row of a model is one run without a search: no step, each step
alone, and all steps that the default search keeps; beside the SQNR of the worst output over
held-out samples stands the gain over no step. Seconds are those of the run, calibration not
counted, so that the difference to the first row is what the step costs.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from common import Entry, machine, parser, read_set, table

import edgeq
from edgeq.graph import loader
from edgeq.recipe import Recipe
from edgeq.refinement.steps import STEPS
from edgeq.runtime.paired import compare
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.calibration.table import CalibrationTable
    from edgeq.types import Sample


def main() -> None:
    """Measure and print a table."""
    line = parser(__doc__)
    line.add_argument("--samples", type=int, default=64, help="calibration samples")
    line.add_argument("--eval", type=int, default=64, help="held-out samples")
    line.add_argument("--calibrator", default="mse", help="of the runs without a search")
    given = line.parse_args()
    print(f"Recovery steps, one at a time; {machine()}, {given.threads} threads\n")
    header = ("model", "steps", "SQNR, dB", "gain, dB", "seconds")
    for entry in read_set(given.set, given.models):
        print(f"{entry.name} ...", file=sys.stderr, flush=True)
        bench = _Bench(entry, given.samples, given.eval, given.threads)
        print(table(header, list(bench.rows(given.calibrator))), flush=True)


class _Bench:
    """One model, calibrated."""

    def __init__(self, entry: Entry, samples: int, held_out: int, threads: int) -> None:
        self._entry = entry
        self._threads = threads
        self._table: CalibrationTable = edgeq.calibrate(
            entry.model, str(entry.calib), max_samples=samples, threads=threads
        )
        self._held_out: list[Sample] = entry.held_out(held_out)
        self._original = Session(loader.load(entry.model).model, SessionConfig(threads))

    def rows(self, calibrator: str) -> Iterator[list[object]]:
        """The table rows of the model."""
        plain = Recipe(calibrator=calibrator, search=False)
        base, seconds, _ = self._run(plain)
        yield [self._entry.name, "none", f"{base:.2f}", "", f"{seconds:.1f}"]
        for step in STEPS:
            found, seconds, _ = self._run(plain.with_changes(steps=(step.name,)))
            yield self._row(step.name, found, base, seconds)
        found, seconds, kept = self._run(Recipe())
        yield self._row(f"search: {', '.join(kept) or 'none'}", found, base, seconds)

    def _row(self, name: str, found: float, base: float, seconds: float) -> list[object]:
        return [self._entry.name, name, f"{found:.2f}", f"{found - base:+.2f}", f"{seconds:.1f}"]

    def _run(self, recipe: Recipe) -> tuple[float, float, tuple[str, ...]]:
        """SQNR of the worst output, seconds, and the steps taken."""
        start = time.perf_counter()
        result = edgeq.quantize(
            self._entry.model,
            calibration_table=self._table,
            recipe=recipe,
            threads=self._threads,
            validate=False,
        )
        seconds = time.perf_counter() - start
        session = Session(result.model, SessionConfig(self._threads))
        outputs = compare(self._original, session, self._held_out)
        worst = min(closeness.sqnr_db for closeness in outputs.values())
        return worst, seconds, result.recipe.steps


if __name__ == "__main__":
    main()
