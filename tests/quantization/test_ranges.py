"""Who chooses the range of a value, and how well it is expected to do."""

from dataclasses import dataclass
from typing import ClassVar

import graphs
import numpy as np
import pytest

from edgeq.calibration import CONTRACT, StatisticKind, Statistics
from edgeq.errors import CalibrationError, PluginError, RecipeError
from edgeq.quantization import affine, ranges
from edgeq.quantization.annotate import annotate
from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU
from edgeq.types import QuantSpec, QuantType, TensorRange

UINT8 = QuantSpec(QuantType.UINT8)
KINDS = frozenset(StatisticKind)


@dataclass(frozen=True)
class Fixed:
    """A calibrator that always gives the same answer, or raises it."""

    answer: object
    contract: ClassVar[int] = CONTRACT
    requires: ClassVar[frozenset] = frozenset({StatisticKind.EXTREMA})

    def range(self, statistics, spec, context):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def seen(*arrays):
    statistics = Statistics(KINDS, limit=200_000)
    for index, array in enumerate(arrays):
        statistics.update(index, np.asarray(array, np.float32))
    return statistics


def chosen(calibrators, lines="[c] z = Conv(x, w)", values=(-1.0, 2.0)):
    io = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
    model = graphs.build(f"{io} {{ {lines} }}", w=graphs.numbers(0, 3, 3, 1, 1))
    annotations = annotate(model, CPU, Recipe())
    statistics = {ref.name: seen(values) for ref in annotations.observed()}
    return ranges.choose_ranges(model, annotations, statistics, calibrators)


def test_auto_stands_for_all_that_are_installed():
    assert {"minmax", "mse", "entropy", "percentile"} <= set(ranges.calibrators_for("auto"))


def test_one_calibrator_may_carry_parameters():
    (name,) = ranges.calibrators_for("percentile:level=99.0")
    assert name == "percentile"


def test_an_unknown_calibrator_suggests_the_nearest():
    with pytest.raises(RecipeError, match="minmax"):
        ranges.calibrators_for("minmx")


def test_the_calibrator_with_the_smallest_expected_error_wins():
    tight, wide = Fixed(TensorRange(-0.1, 0.1)), Fixed(TensorRange(-1.0, 2.0))
    found = chosen({"tight": tight, "wide": wide})
    assert {each.calibrator for each in found.values()} == {"wide"}


def test_a_range_never_leaves_what_was_observed():
    found = chosen({"eager": Fixed(TensorRange(-50.0, 70.0))})
    assert found["x"].bounds == TensorRange(-1.0, 2.0)


@pytest.mark.parametrize("answer", [TensorRange(5.0, 9.0), TensorRange(-9.0, -5.0)])
def test_a_range_beside_what_was_observed_becomes_its_edge(answer):
    bounds = chosen({"odd": Fixed(answer)})["x"].bounds
    assert -1.0 <= bounds.low <= bounds.high <= 2.0


def test_a_range_ends_where_its_readers_are_flat():
    lines = "[c] y = Conv(x, w) [h] z = HardSigmoid<alpha=0.5, beta=0.5>(y)"
    found = chosen({"all": Fixed(TensorRange(-9.0, 9.0))}, lines, (-9.0, 9.0))
    assert found["y"].bounds == TensorRange(-1.0, 1.0)


def test_a_value_that_no_sample_computed_has_no_range():
    io = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
    model = graphs.build(f"{io} {{ [c] z = Conv(x, w) }}", w=graphs.numbers(0, 3, 3, 1, 1))
    annotations = annotate(model, CPU, Recipe())
    statistics = {"x": seen([1.0]), "z": Statistics(KINDS)}
    found = ranges.choose_ranges(model, annotations, statistics, {"a": Fixed(TensorRange(0, 1))})
    assert set(found) == {"x"}


def test_a_plug_in_that_returns_something_else_is_told_on():
    with pytest.raises(PluginError, match="calibrator bad returned"):
        chosen({"bad": Fixed((0.0, 1.0))})


def test_the_message_of_a_calibrator_names_it_and_the_value():
    with pytest.raises(CalibrationError, match="value x: calibrator picky: too few"):
        chosen({"picky": Fixed(CalibrationError("too few samples"))})


@pytest.mark.parametrize("spread", [0.5, 3.0])
@pytest.mark.parametrize("cut", [0.2, 1.0, 2.5])
def test_the_expected_ratio_is_what_quantizing_gives(spread, cut):
    array = np.random.default_rng(1).normal(0, spread, 200_000).astype(np.float32)
    bounds = TensorRange(-cut * spread, cut * spread)
    params = affine.params_for_range(bounds, UINT8)
    error = affine.dequantize(affine.quantize(array, params), params) - array
    measured = 10 * np.log10(np.sum(array.astype(np.float64) ** 2) / np.sum(error**2.0))
    expected = chosen({"fixed": Fixed(bounds)}, values=array)["x"].sqnr_db
    assert expected == pytest.approx(measured, abs=0.5)


def test_what_never_varies_from_zero_has_no_error():
    found = chosen({"fixed": Fixed(TensorRange(0.0, 0.0))}, values=np.zeros(9))
    assert found["x"].sqnr_db == 200.0
