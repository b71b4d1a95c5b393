"""Ranges are chosen by what readers make of the values."""

import graphs
import numpy as np
import pytest

from edgeq.calibration.collector import collect
from edgeq.quantization import affine
from edgeq.quantization.annotate import annotate
from edgeq.quantization.ranges import calibrators_for, required_kinds
from edgeq.recipe import Recipe
from edgeq.refinement.ranges import candidate_ranges, refine_ranges
from edgeq.targets.cpu import CPU
from edgeq.types import TensorRange, ValueRef

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1)
NARROW, WIDE = TensorRange(-1.0, 1.0), TensorRange(-40.0, 40.0)


def refined(text, ranges, candidates, samples=None, **constants):
    model = graphs.build(text, **({"w": W} | constants))
    annotations = annotate(model, CPU, Recipe())
    everything = {ref.name: NARROW for ref in annotations.observed()} | ranges
    samples = graphs.feeds(model) if samples is None else samples
    found = refine_ranges(model, annotations, everything, candidates, samples, graphs.UNOPTIMIZED)
    assert found.keys() == everything.keys()
    return found


def test_the_candidate_with_the_least_error_at_the_readers_outputs_is_chosen():
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=W)
    samples, annotations = graphs.feeds(model), annotate(model, CPU, Recipe())
    spec = annotations.specs[ValueRef("x")]
    candidates = [TensorRange(-high, high) for high in (0.5, 1.5, 2.5, 3.5, 6.0)]

    def error(bounds):
        params = affine.params_for_range(bounds, spec)
        errors = (
            affine.dequantize(affine.quantize(s["x"], params), params) - s["x"] for s in samples
        )
        return sum(
            float(np.square(np.einsum("oi,nihw->nohw", W[:, :, 0, 0], e)).sum()) for e in errors
        )

    found = refined(f"{IO} {{ [c] z = Conv(x, w) }}", {"x": WIDE}, {"x": candidates})
    assert found["x"] == min(candidates, key=error)


def test_what_no_reader_can_tell_apart_does_not_count():
    """The channel with the large elements is multiplied by nothing."""
    weight = W.copy()
    weight[:, 0] = 0.0
    samples = graphs.feeds(graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=W))
    for sample in samples:
        sample["x"][:, 0] *= 1000
    narrow = TensorRange(-4.0, 4.0)
    chain = f"{IO} {{ [c] z = Conv(x, w) }}"
    candidates = {"x": [narrow, TensorRange(-3000.0, 3000.0)]}
    assert refined(chain, {"x": WIDE}, candidates, samples, w=weight)["x"] == narrow
    assert refined(chain, {"x": WIDE}, candidates, samples)["x"].high == 3000.0


def test_a_range_stays_where_nothing_is_noticeably_better():
    now = TensorRange(-3.5, 3.5)
    candidates = {"x": [TensorRange(-3.50001, 3.50001), WIDE]}
    assert refined(f"{IO} {{ [c] z = Conv(x, w) }}", {"x": now}, candidates)["x"] == now
    assert refined(f"{IO} {{ [c] z = Conv(x, w) }}", {"x": now}, {})["x"] == now


@pytest.mark.parametrize(
    ("relu", "wanted"), [("Relu(y)", (0.0, 60.0)), ("Clip(y, low, high)", (0.0, 0.5))]
)
def test_a_range_that_reaches_beyond_an_absorbed_clip_is_passed_over(relu, wanted):
    text = f"{IO} {{ [c] y = Conv(x, w) [r] p = {relu} [e] z = Conv(p, w) }}"
    limits = {"low": np.array(0, np.float32), "high": np.array(4, np.float32)}
    candidates = {"p": [TensorRange(-0.5, 4.0), TensorRange(0.0, 60.0), TensorRange(0.0, 0.5)]}
    found = refined(text, {"p": TensorRange(0.0, 0.1)}, candidates, **limits)
    assert found["p"] == TensorRange(*wanted)


def test_values_that_share_numbers_count_with_their_source():
    """The pool reads the numbers of y; what reads the pool decides, too."""
    text = f"""{IO} {{
        [c] y = Conv(x, w)
        [m] p = MaxPool<kernel_shape=[1,1]>(y)
        [e] z = Conv(p, w)
    }}"""
    found = refined(text, {"y": WIDE}, {"y": [TensorRange(-8.0, 8.0)], "p": [NARROW]})
    assert found["y"] == TensorRange(-8.0, 8.0)
    assert "p" not in found


def test_candidates_are_what_calibrators_choose_and_parts_of_what_was_seen():
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=W)
    found = graphs.quantize(model)
    calibrators = calibrators_for("minmax")
    names = [ref.name for ref in found.annotations.observed()]
    statistics = collect(model, names, found.samples, required_kinds(calibrators)).statistics
    ranges = candidate_ranges(model, found.annotations, statistics, calibrators, (1.0, 0.5))
    low, high = statistics["x"].minimum, statistics["x"].maximum
    assert ranges["x"] == [TensorRange(low, high), TensorRange(low * 0.5, high * 0.5)]
