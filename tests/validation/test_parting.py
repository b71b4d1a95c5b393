"""Where two models part, and what both compute there."""

import graphs
import numpy as np

from edgeq.validation.layers import LayerFidelity
from edgeq.validation.parting import BINS, describe_parting, first_parted

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1)


def layers(*pairs):
    return [LayerFidelity(f"l{i}", "Conv", now, before) for i, (before, now) in enumerate(pairs)]


def name(*pairs):
    found = first_parted(layers(*pairs))
    return None if found is None else found.name


def test_the_first_layer_under_20_db():
    assert name((200, 40), (40, 19.9), (19.9, 5)) == "l1"
    assert name((200, 40), (40, 35)) is None


def test_a_sharp_fall_counts_although_20_db_remain():
    assert name((200, 38), (38, 25), (25, 18)) == "l1"
    # Noise that adds up over the layers does not, nor what only the inputs' rounding costs.
    assert name((200, 25), (25, 22)) is None
    assert name((200, 45), (45, 31)) is None


def test_histograms_over_the_same_edges():
    text = f"{IO} {{ [c] y = Conv(x, w) [r] p = Relu(y) [e] z = Conv(p, w) }}"
    found = graphs.quantize(graphs.build(text, w=W))
    layer = LayerFidelity("c", "Conv", 12.0, 40.0, 13.0, "because", "so what")
    parting = describe_parting(found.original, found.model, layer, found.samples)
    assert (parting.name, parting.cause, parting.remedy) == ("c", "because", "so what")
    assert len(parting.edges) == BINS + 1
    assert np.all(np.diff(parting.edges) > 0)
    exact = np.concatenate(
        [
            np.maximum(np.einsum("oi,nihw->nohw", W[:, :, 0, 0], s["x"]), 0).ravel()
            for s in found.samples
        ]
    )
    assert sum(parting.reference) == sum(parting.candidate) == exact.size
    assert abs(parting.reference[0] - np.histogram(exact, parting.edges)[0][0]) <= 1
    assert abs(parting.reference[0] - parting.candidate[0]) < 30


def test_a_layer_inside_of_a_body_has_no_histograms():
    text = """n (float[1,4] x, bool c) => (float[1,4] z) {
        [choose] z = If (c) <
            then_branch = t () => (float[1,4] a) { [inner] a = MatMul(x, w) },
            else_branch = e () => (float[1,4] d) { d = Neg(x) }
        >
    }"""
    model = graphs.build(text, w=graphs.numbers(2, 4, 4))
    samples = graphs.feeds(model, c=np.array(True))
    found = graphs.quantize(model, samples)
    layer = LayerFidelity("inner", "MatMul", 12.0, 40.0)
    parting = describe_parting(model, found.model, layer, samples)
    assert (parting.edges, parting.reference, parting.candidate) == ((), (), ())
