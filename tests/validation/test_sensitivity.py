"""Errors alone are those that numpy finds when nothing else is rounded."""

import graphs
import models
import numpy as np
import pytest

from edgeq.graph import loader
from edgeq.metrics.fidelity import sqnr_db
from edgeq.quantization import affine
from edgeq.types import EdgeRef
from edgeq.validation.sensitivity import _Built, measure_sensitivity

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1)
CHAIN = f"""{IO} {{
    [c] y = Conv(x, w) [r] p = Relu(y) [d] q = Conv(p, w) [a] v = Add(q, p) [e] z = Conv(v, w)
}}"""


def measured(model, samples=None):
    found = graphs.quantize(model, samples, target=graphs.UNPADDED)
    return found, measure_sensitivity(model, found.model, found.samples, graphs.UNOPTIMIZED)


def layers(sensitivity):
    return {layer.name: layer for layer in sensitivity.layers}


def rounded(array, params):
    return affine.dequantize(affine.quantize(array, params), params)


def ratio(pairs):
    pairs = list(pairs)
    signal = sum(float(np.square(one.astype(np.float64)).sum()) for one, _ in pairs)
    noise = sum(float(np.square(one.astype(np.float64) - two).sum()) for one, two in pairs)
    return sqnr_db(signal, noise)


def conv(x, w=W):
    return np.einsum("oi,nihw->nohw", w[:, :, 0, 0], x)


class Numpy:
    """The chain as numpy computes it."""

    def __init__(self, found):
        self.params = {e.value.name: e.params for e in found.plan.activations}
        self.weights = {e.edge: e.params for e in found.plan.weights}
        self.samples = [sample["x"] for sample in found.samples]

    def weight(self, node):
        return rounded(W, self.weights[EdgeRef(node, 1)])

    def exact(self):
        for x in self.samples:
            p = np.maximum(conv(x), 0)
            q = conv(p)
            yield {"x": x, "p": p, "q": q, "v": q + p, "z": conv(q + p)}

    def of(self, value, array):
        return rounded(array.astype(np.float32), self.params[value])


def test_errors_alone_are_those_that_numpy_finds():
    found, sensitivity = measured(graphs.build(CHAIN, w=W))
    by, exact = Numpy(found), list(Numpy(found).exact())
    alone = {
        "c": ratio((v["p"], by.of("p", conv(by.of("x", v["x"]), by.weight("c")))) for v in exact),
        "d": ratio((v["q"], by.of("q", conv(by.of("p", v["p"]), by.weight("d")))) for v in exact),
        "a": ratio((v["v"], by.of("v", by.of("q", v["q"]) + by.of("p", v["p"]))) for v in exact),
        "e": ratio((v["z"], by.of("z", conv(by.of("v", v["v"]), by.weight("e")))) for v in exact),
    }
    assert {n: layer.alone_db for n, layer in layers(sensitivity).items()} == pytest.approx(
        alone, abs=0.02
    )


def test_values_alone_and_in_what_their_readers_make_of_them():
    found, sensitivity = measured(graphs.build(CHAIN, w=W))
    by, exact = Numpy(found), list(Numpy(found).exact())
    values = {value.name: value for value in sensitivity.values}
    assert values.keys() == {"x", "p", "q", "v", "z"}
    assert values["p"].sqnr_db == pytest.approx(ratio((v["p"], by.of("p", v["p"])) for v in exact))
    read = {
        "d": ratio((v["q"], conv(by.of("p", v["p"]))) for v in exact),
        "a": ratio((v["v"], v["q"] + by.of("p", v["p"])) for v in exact),
    }
    assert values["p"].readers_db == pytest.approx(min(read.values()), abs=0.02)
    assert values["p"].reader == min(read, key=read.get)
    assert (values["z"].readers_db, values["z"].reader) == (None, "")


def test_the_parts_of_a_nodes_error_add_up():
    _, sensitivity = measured(graphs.build(CHAIN, w=W))
    parts = sensitivity.parts["a"]
    assert parts.inputs.keys() == {"p", "q"}
    known = sum(parts.inputs.values()) + parts.output[1]
    assert known == pytest.approx(parts.total, rel=0.2)


def test_accumulated_errors_are_those_of_the_whole_model():
    found, sensitivity = measured(graphs.build(CHAIN, w=W))
    last = sensitivity.layers[-1]
    assert (last.name, last.op_type) == ("e", "Conv")
    assert last.sqnr_db == pytest.approx(found.sqnr(graphs.UNOPTIMIZED), abs=0.02)
    assert last.before_db == pytest.approx(layers(sensitivity)["a"].sqnr_db)
    assert sensitivity.layers[0].before_db == 200


def test_nothing_but_sums_comes_out():
    found = graphs.quantize(graphs.build(CHAIN, w=W), target=graphs.UNPADDED)
    built = _Built(found.original, found.model)
    (output,) = built.model.graph.outputs
    # Signals of x, p, q, v and z, and one noise for each reading.
    assert output.shape.numpy() == (5 + len(built.readings),)


def test_dynamic_layers():
    model = loader.load(models.mlp()).model
    _, sensitivity = measured(model, models.rows(4))
    rows = layers(sensitivity)
    assert list(rows) == ["first", "second"]
    assert all(30 < row.alone_db < 60 for row in rows.values())
    assert rows["first"].alone_db == pytest.approx(rows["first"].sqnr_db)
    assert rows["second"].sqnr_db < rows["second"].alone_db


def test_layers_in_branches():
    model = loader.load(models.branches()).model
    samples = [{**row, "wide": np.array(True)} for row in models.rows(4)]
    _, sensitivity = measured(model, samples)
    (row,) = sensitivity.layers
    assert row.name == "wide_product"
    assert 30 < row.alone_db < 60
    assert row.alone_db == pytest.approx(row.sqnr_db)


def test_static_layers_in_branches_read_what_is_quantized_outside():
    text = """n (float[1,3,4,4] x, bool c) => (float[1,3,4,4] z) {
        [first] y = Conv(x, w)
        [choose] v = If (c) <
            then_branch = t () => (float[1,3,4,4] a) { [inner] b = Conv(y, w) a = Sin(b) },
            else_branch = e () => (float[1,3,4,4] d) { d = Identity(y) }
        >
        [last] z = Conv(v, w)
    }"""
    model = graphs.build(text, w=W)
    samples = [
        s | {"c": np.array(i % 2 == 0)} for i, s in enumerate(graphs.feeds(model, 6, c=True))
    ]
    found, sensitivity = measured(model, samples)
    rows = layers(sensitivity)
    assert list(rows) == ["first", "inner", "last"]
    assert all(25 < row.alone_db < 60 for row in rows.values())
    assert rows["last"].sqnr_db == pytest.approx(found.sqnr(graphs.UNOPTIMIZED), abs=0.02)


LOOP = """n (float[1,4] x, int64 trips, bool go) => (float[1,4] z) {
    [loop] z = Loop (trips, go, x) <
        body = b (int64 i, bool c, float[1,4] s) => (bool d, float[1,4] t) {
            d = Identity(c)
            %s
            t = Tanh(u)
        }
    >
}"""
ROUNDED = """k = QuantizeLinear(s, scale, zero) r = DequantizeLinear(k, scale, zero)
    [inner] u = MatMul(r, w)"""


def test_layers_in_loops_have_errors_of_their_own():
    constants = {"w": graphs.numbers(3, 4, 4)}
    model = graphs.build(LOOP % "[inner] u = MatMul(s, w)", **constants)
    constants |= {"scale": np.array(0.02, np.float32), "zero": np.array(128, np.uint8)}
    candidate = graphs.build(LOOP % ROUNDED, **constants)
    fixed = {"trips": np.array(3, np.int64), "go": np.array(True)}
    samples = graphs.feeds(model, 4, **fixed)
    parts = measure_sensitivity(model, candidate, samples).parts
    noise = 0.0
    for sample in samples:
        state = sample["x"]
        for _ in range(3):
            exact = state @ constants["w"]
            read = np.clip(np.rint(state / np.float32(0.02)), -128, 127) * np.float32(0.02)
            noise += float(np.square(exact - read @ constants["w"]).sum())
            state = np.tanh(exact)
    assert parts.keys() == {"inner"}
    assert parts["inner"].total == pytest.approx(noise, rel=1e-3)


def test_values_whose_names_are_new_are_left_out():
    found = graphs.quantize(graphs.build(CHAIN, w=W), target=graphs.UNPADDED)
    for value in found.model.graph.all_nodes():
        for output in value.outputs:
            if not output.is_graph_output():
                output.name = f"other_{output.name}"
    sensitivity = measure_sensitivity(found.original, found.model, found.samples)
    assert [layer.name for layer in sensitivity.layers] == ["e"]
