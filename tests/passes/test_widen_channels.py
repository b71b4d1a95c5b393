"""Channels of zeros fill vectors wherever layers alone decide how many channels there are."""

import numpy as np
import pytest
from pass_graphs import apply, model, numbers

from edgeq.passes.widen_channels import widen_channels

HEAD = "g (float[1,3,8,8] x, float[{c},3,1,1] a, float[{c}] b, float[{c},1,3,3] d, "
GATED = """float[18,{c},1,1] s, float[{c},18,1,1] e, float[5,{c},1,1] w) => (float[1,5,8,8] z) {{
    up = Conv(x, a, b) act = Relu(up)
    deep = Conv<group={c}, pads=[1,1,1,1]>(act, d) half = HardSigmoid(deep) swish = Mul(deep, half)
    mean = GlobalAveragePool(swish) less = Conv(mean, s) some = Relu(less) gate = Conv(some, e)
    open = Sigmoid(gate) gated = Mul(swish, open) z = Conv(gated, w)
}}"""


def gated(channels):
    """A block of MobileNetV3: a depthwise layer, hard-swish, squeeze-and-excitation."""
    shapes = {
        "a": (channels, 3, 1, 1), "b": (channels,), "d": (channels, 1, 3, 3),
        "s": (18, channels, 1, 1), "e": (channels, 18, 1, 1), "w": (5, channels, 1, 1),
    }  # fmt: skip
    return built((HEAD + GATED).format(c=channels), shapes)


def built(text, shapes, **constants):
    data = {name: numbers(*shape, seed=i) - 1 for i, (name, shape) in enumerate(shapes.items())}
    return model(text, **data, **constants)


def sizes(found):
    return {v.name: v.shape[1] for n in found.graph for v in n.outputs if len(v.shape) > 1}


@pytest.mark.parametrize(("channels", "wide"), [(12, 16), (24, 32), (40, 48)])
def test_a_depthwise_layer_gets_whole_vectors_and_all_around_it(channels, wide):
    found, outcome = apply(widen_channels, gated(channels))
    assert outcome.changes == 2
    names = ("up", "act", "deep", "half", "swish", "mean", "gate", "open", "gated")
    assert {sizes(found)[name] for name in names} == {wide}
    deep = next(n for n in found.graph if n.outputs[0].name == "deep")
    assert deep.attributes["group"].as_int() == wide


def test_layers_between_others_get_whole_words():
    """18 channels between two layers become 20."""
    found, _ = apply(widen_channels, gated(24))
    assert (sizes(found)["less"], sizes(found)["some"], sizes(found)["z"]) == (20, 20, 5)


@pytest.mark.parametrize("channels", [3, 32])
def test_whole_vectors_stay_and_so_do_channels_that_zeros_would_outnumber(channels):
    assert sizes(apply(widen_channels, gated(channels))[0])["deep"] == channels
    body = "t = Tanh(y) z = Conv(t, w)"
    assert sizes(apply(widen_channels, between(body, 7))[0])["t"] == 7


TWO = "g (float[1,4,6,6] x, float[{c},4,3,3] a, float[4,{c},1,1] w, {more}) => (float[1,4,{s}] z)"


def between(body, channels=12, size="4,4", more="", **constants):
    text = TWO.format(c=channels, s=size, more=more).replace(", )", ")")
    shapes = {"a": (channels, 4, 3, 3), "w": (4, channels, 1, 1)}
    return built(f"{text} {{ y = Conv(x, a) {body} }}", shapes, **constants)


def test_fewer_outputs_than_a_vector_become_one():
    found, _ = apply(widen_channels, between("t = Tanh(y) z = Conv(t, w)"))
    assert sizes(found)["t"] == 16


def test_more_outputs_become_whole_words():
    found, _ = apply(widen_channels, between("t = Tanh(y) z = Conv(t, w)", 18))
    assert sizes(found)["t"] == 20


def test_constants_for_each_channel_go_along():
    body = "m = Mul(y, k) t = PRelu(m, p) z = Conv(t, w)"
    more = "float[1,12,1,1] k, float[12,1,1] p"
    k, p = numbers(1, 12, 1, 1), numbers(12, 1, 1, seed=1)
    found, _ = apply(widen_channels, between(body, more=more, k=k, p=p))
    assert sizes(found)["t"] == 16
    assert next(n for n in found.graph if n.op_type == "PRelu").inputs[1].shape[0] == 16


def test_what_broadcasts_over_channels_is_left():
    body = "m = Add(y, k) t = Mul(m, r) z = Conv(t, w)"
    more = "float[1] k, float[1,1,4,4] r"
    found, _ = apply(widen_channels, between(body, more=more, k=numbers(1), r=numbers(1, 1, 4, 4)))
    assert sizes(found)["t"] == 16


def test_sums_of_layers_are_widened_together():
    body = "u = Conv(x, a) s = Add(y, u) p = ReduceMean<axes=[2,3]>(s) z = Conv(p, w)"
    found, _ = apply(widen_channels, between(body, size="1,1"))
    assert {sizes(found)[name] for name in "yusp"} == {16}


@pytest.mark.parametrize(
    ("body", "guilty"),
    [
        ("t = Softmax<axis=1>(y) z = Conv(t, w)", "Softmax"),
        ("t = Reciprocal(y) z = Conv(t, w)", "Reciprocal"),
        ("t = Div(y, y) z = Conv(t, w)", "Div"),
        ("p, q = Split<axis=1>(y) t = Concat<axis=1>(q, p) z = Conv(t, w)", "Split"),
        ("p = ReduceMean<axes=[1]>(y) t = Mul(y, p) z = Conv(t, w)", "ReduceMean"),
        ("t, i = MaxPool<kernel_shape=[1,1]>(y) j = Cast<to=1>(i) k = Add(t, j) z = Conv(k, w)",
         "MaxPool"),
        ("z = Conv<group=1>(y, w) k = Shape(y)", "Shape"),
    ],
)  # fmt: skip
def test_what_counts_channels_or_mixes_them_is_named(body, guilty):
    found, outcome = apply(widen_channels, between(body))
    assert outcome.changes == 0
    assert sizes(found)["y"] == 12
    assert any(guilty in reason for reason in outcome.declined)


def test_what_leaves_the_graph_keeps_its_channels():
    found = between("z = Conv(y, w)")
    found.graph.outputs.append(next(n.outputs[0] for n in found.graph))
    assert apply(widen_channels, found)[1].changes == 0


def test_a_weight_of_two_layers_is_forked():
    """One of them writes what leaves the graph."""
    text = """g (float[1,12,6,6] x, float[12,12,1,1] a) => (float[1,12,6,6] z) {
        y = Conv(x, a) t = Relu(y) z = Conv(t, a)
    }"""
    found, outcome = apply(widen_channels, built(text, {"a": (12, 12, 1, 1)}))
    shapes = [tuple(n.inputs[1].shape) for n in found.graph if n.op_type == "Conv"]
    assert outcome.changes == 1
    assert shapes == [(16, 12, 1, 1), (12, 16, 1, 1)]


def test_products_with_zeros_may_not_outweigh_what_is_gained():
    """8 more channels of a layer with 400 outputs, for one depthwise layer of 3 x 3 taps."""
    text = """g (float[1,3,6,6] x, float[24,3,1,1] a, float[24,1,3,3] d, float[{n},24,1,1] w) =>
        (float[1,{n},4,4] z) {{ y = Conv(x, a) t = Conv<group=24>(y, d) z = Conv(t, w) }}"""
    for outputs, wide in ((200, 32), (400, 24)):
        shapes = {"a": (24, 3, 1, 1), "d": (24, 1, 3, 3), "w": (outputs, 24, 1, 1)}
        found, _ = apply(widen_channels, built(text.format(n=outputs), shapes))
        assert sizes(found)["t"] == wide


def test_what_a_body_reads_stays():
    inner = "then_branch = h () => (float[1,12,4,4] q) { q = Relu(y) }"
    other = "else_branch = h () => (float[1,12,4,4] q) { q = Neg(y) }"
    body = f"t = If<{inner}, {other}>(c) z = Conv(t, w)"
    found = between(body, more="bool c", c=np.array(True))
    assert apply(widen_channels, found)[1].changes == 0
