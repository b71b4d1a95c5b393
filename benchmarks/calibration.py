"""What calibration costs, in plain fp32 passes over the same samples.

    python benchmarks/calibration.py SET [--models A,B] [--samples N] [--repeat 3] [--peers]

The unit is one plain pass: onnxruntime runs the model over the samples, opening the session not
counted. Against it stand edgeq's collector with the statistics of all calibrators (opening its
session counted), the choice of a range for every value by all calibrators, and their sum. With
--peers the calibrators of onnxruntime.quantization, each in a run of its own; they keep every
activation of all samples in memory. All in one process, in turn, medians of --repeat. Opening the
session and choosing take the same time however many samples there are.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from common import Entry, machine, parser, read_set, table

from edgeq.calibration.collector import collect
from edgeq.graph import loader, opset
from edgeq.passes.prepare import prepare
from edgeq.quantization.annotate import annotate
from edgeq.quantization.ranges import calibrators_for, choose_ranges, required_kinds
from edgeq.recipe import Recipe
from edgeq.runtime.session import Session, SessionConfig
from edgeq.targets import target_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeq.calibration.collector import Collection
    from edgeq.quantization.annotate import Annotations
    from edgeq.types import Sample

PEERS = ("MinMax", "Percentile", "Entropy")


class Calibration:
    """edgeq's calibration of one model with every calibrator that is installed."""

    def __init__(self, entry: Entry, samples: Sequence[Sample], threads: int) -> None:
        target = target_named("cpu")
        model = opset.upgrade(loader.load(entry.model).model, target.minimum_opset)
        self.model = prepare(model, samples[:4]).model
        self.annotations: Annotations = annotate(self.model, target, Recipe())
        self.calibrators = calibrators_for("auto")
        self._samples = samples
        self._threads = threads
        self.values = [ref.name for ref in self.annotations.observed()]

    def collect(self, samples: Iterable[Sample]) -> Collection:
        """The pass over the samples, for every calibrator at once."""
        kinds = required_kinds(self.calibrators)
        return collect(self.model, self.values, samples, kinds, threads=self._threads)

    def timed(self) -> tuple[float, float]:
        """Seconds of collecting and of choosing."""
        start = time.perf_counter()
        found = self.collect(iter(self._samples))
        collected = time.perf_counter()
        choose_ranges(self.model, self.annotations, found.statistics, self.calibrators)
        return collected - start, time.perf_counter() - collected


def main() -> None:
    """Measure and print a table."""
    line = parser(__doc__)
    line.add_argument("--samples", type=int, default=512, help="at most, of those there are")
    line.add_argument("--repeat", type=int, default=3)
    line.add_argument("--peers", action="store_true", help="onnxruntime's calibrators, too")
    given = line.parse_args()
    peers = PEERS if given.peers else ()
    rows = [
        _row(entry, given.samples, given.repeat, given.threads, peers)
        for entry in read_set(given.set, given.models)
    ]
    header = ["model", "samples", "values", "plain pass, ms a sample", "collect", "choose", "all"]
    print(f"Calibration in plain fp32 passes; {machine()}, {given.threads} threads\n")
    print(table([*header, *(f"onnxruntime {peer}" for peer in peers)], rows))


def _row(entry: Entry, count: int, repeat: int, threads: int, peers: Sequence[str]) -> list[object]:
    samples = entry.samples(count)
    ours = Calibration(entry, samples, threads)
    plain = Session(entry.model, SessionConfig(threads))
    plain.run(samples[0])
    passes, collects, chooses = [], [], []
    for _ in range(repeat):
        passes.append(_pass(plain, samples))
        collected, chosen = ours.timed()
        collects.append(collected)
        chooses.append(chosen)
    unit, collected, chosen = median(passes), median(collects), median(chooses)
    total = median(a + b for a, b in zip(collects, chooses, strict=True))
    ratios = [collected / unit, chosen / unit, total / unit]
    ratios += [_peer(entry, samples, peer, threads) / unit for peer in peers]
    per_sample = f"{unit / len(samples) * 1e3:.2f}"
    shown = [f"{ratio:.2f}" for ratio in ratios]
    return [entry.name, len(samples), len(ours.values), per_sample, *shown]


def _pass(session: Session, samples: Sequence[Sample]) -> float:
    start = time.perf_counter()
    for sample in samples:
        session.run(sample)
    return time.perf_counter() - start


def _peer(entry: Entry, samples: Sequence[Sample], method: str, threads: int) -> float:
    """Seconds of one of onnxruntime's calibrators: collecting and computing ranges."""
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    class Reader:
        """Samples as onnxruntime's calibrators ask for them."""

        def __init__(self) -> None:
            self._rest = iter(samples)

        def get_next(self) -> Any:
            return next(self._rest, None)

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            str(entry.model),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=getattr(CalibrationMethod, method),
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        calibrator.infer_session = ort.InferenceSession(
            calibrator.augmented_model_path, options, providers=["CPUExecutionProvider"]
        )
        with contextlib.redirect_stdout(sys.stderr):  # they print what they do
            calibrator.collect_data(Reader())
            calibrator.compute_data()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
