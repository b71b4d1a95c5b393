"""What should not go unsaid is said, with a way out."""

import pytest

from edgeq.metrics import Fidelity
from edgeq.quantization.plan import NodeDecision, NodeForm, QuantPlan
from edgeq.runtime.latency import LatencyComparison, Timing
from edgeq.validation.advice import steepest_falls, warnings_about
from edgeq.validation.coverage import Coverage, FloatNode
from edgeq.validation.layers import LayerFidelity

TIMING = Timing(1.0, 1.0, 1.0)
GOOD = {"y": Fidelity(35.0, 0.999, 0.1, None, True)}


def warned(outputs=GOOD, coverage=None, latency=(), layers=(), samples=100, plan=None):
    return warnings_about(outputs, coverage, latency, layers, samples, plan)


def layers(*ratios):
    """A chain: each layer reads what the one before it makes."""
    pairs = zip(ratios, (200.0, *ratios), strict=False)
    return [LayerFidelity(f"l{i}", "Conv", now, before) for i, (now, before) in enumerate(pairs)]


def test_a_good_result_needs_no_words():
    coverage = Coverage(90, 0, 10, (), 2, 2)
    latency = [LatencyComparison(1, TIMING, TIMING, 1.5, 5)]
    assert warned(coverage=coverage, latency=latency) == ()


def test_few_samples():
    (warning,) = warned(samples=3)
    assert warning.startswith("Only 3 calibration samples")
    assert warned(samples=None) == ()


def test_an_output_that_is_far_off_names_the_layers_where_quality_falls():
    far = {"y": Fidelity(12.0, 0.9, 0.1, None, True), "z": GOOD["y"]}
    (warning,) = warned(far, layers=layers(190, 188, 15, 14))
    assert warning.startswith("Outputs y are under 20 dB SQNR")
    assert "l2 (188 -> 15 dB)" in warning
    assert "--exclude" in warning


def test_low_coverage_names_the_heaviest_and_why():
    nodes = tuple(FloatNode(f"n{i}", "Conv", 9 - i, "excluded") for i in range(4))
    (warning,) = warned(coverage=Coverage(10, 0, 90, nodes, 0, 0))
    assert warning.startswith("Only 10% of the multiply-accumulates")
    assert "Conv n0 (excluded)" in warning
    assert "n3" not in warning


def test_branches_that_no_sample_took():
    decisions = tuple(
        NodeDecision(name, "Conv", NodeForm.FLOAT, "no calibration sample reached it")
        for name in ("a", "b")
    )
    (warning,) = warned(plan=QuantPlan(decisions=decisions))
    assert warning.startswith("2 nodes stay float because no calibration sample reached them")


def test_a_slower_result_says_by_how_much_and_where():
    latency = [LatencyComparison(n, TIMING, TIMING, s, 5) for n, s in ((1, 0.8), (2, 1.2))]
    (warning,) = warned(latency=latency)
    assert "slower than fp32" in warning
    assert "0.80 times" in warning
    assert "1 threads" in warning


def test_the_steepest_falls_come_first_and_rises_do_not_count():
    found = steepest_falls(layers(195, 30, 35, 10, 9, 8.5), count=2)
    assert found == [("l3", 35, 10), ("l1", 195, 30)]
    # A first layer at 45 dB has lost nothing that matters.
    assert steepest_falls(layers(45, 38)) == [("l1", 45, 38)]
    assert steepest_falls(layers(200, 200)) == []


@pytest.mark.parametrize(("ratio", "told"), [(0.3, False), (1.0, True), (1.4, True)])
def test_a_result_that_is_not_smaller_is_told(ratio, told):
    said = warnings_about(GOOD, None, (), (), None, None, size_ratio=ratio)
    assert any("times as large" in sentence for sentence in said) is told


def test_layers_that_can_saturate_are_warned_of():
    from edgeq.quantization.pairs import PairForm, PairNote
    from edgeq.quantization.plan import QuantPlan

    notes = (
        PairNote("small", 1, 40000, PairForm.FULL),
        PairNote("large", 1, 60000, PairForm.FULL),
        PairNote("mended", 1, 64000, PairForm.NARROW),
    )
    (found,) = warnings_about(GOOD, None, (), (), None, QuantPlan(pairs=notes))
    assert "2 layers, such as large" in found
    assert "--target x86-avx2" in found
    assert not warnings_about(GOOD, None, (), (), None, QuantPlan(pairs=notes[2:]))


def test_a_model_of_which_nothing_was_compared_is_told_so():
    """Its outputs are strings."""
    (said,) = warnings_about({}, None, (), (), None, None)
    assert "not measured" in said
    assert warnings_about(GOOD, None, (), (), None, None) == ()
