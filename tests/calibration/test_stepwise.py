"""Going through a model step by step computes what running it whole computes."""

import graphs
import numpy as np
import onnx_ir as ir
from graphs import OPTIMIZED

from edgeq.calibration.stepwise import Stepwise
from edgeq.graph.expose import expose
from edgeq.runtime.session import Session

TEXT = (
    "n (float[1,4,6,6] x, bool c) => (float[1,4,6,6] z) {"
    " [a] a = Conv(x, w, b) [r] r = Relu(a) [d] d = Conv(r, v, b) [p] p = Add(d, r)"
    " [i] q = If(c) <then_branch = t () => (float[1,4,6,6] s) { [n] s = Neg(r) },"
    " else_branch = e () => (float[1,4,6,6] o) { [m] o = Identity(p) }>"
    " [f] f = Conv(p, w, b) [g] z = Mul(f, q) }"
)


def model():
    return graphs.build(
        TEXT,
        w=graphs.numbers(0, 4, 4, 1, 1),
        v=graphs.numbers(1, 4, 4, 1, 1),
        b=graphs.numbers(2, 4),
    )


def whole(made, names, samples):
    exposed = expose(made, names)
    session = Session(exposed.model, OPTIMIZED)
    return [{n: session.run(s)[exposed.outputs[n]] for n in names} for s in samples]


def test_every_step_finds_what_the_whole_model_computes():
    made = model()
    samples = graphs.feeds(made, 3, c=np.array(True))
    names = ["r", "d", "p", "q", "f", "z"]
    steps = Stepwise(made, samples, names, OPTIMIZED)
    want = whole(made, names, samples)
    for asked in (["r"], ["d", "p"], ["f"], ["q", "z"]):
        for got, right in zip(steps.advance(asked), want, strict=True):
            for name in asked:
                np.testing.assert_allclose(got[name], right[name], rtol=1e-5, atol=1e-6)


def test_a_quantized_model_keeps_integers_only():
    found = graphs.quantize(model(), graphs.feeds(model(), 4, c=np.array(False)))
    made = found.model
    node = {n.name: n for n in made.graph}["f"]
    integers = node.inputs[0].producer().inputs[0].name
    steps = Stepwise(made, found.samples, ["r_quantized", integers], OPTIMIZED)
    first = steps.advance(["r_quantized"])
    assert all(array.dtype == np.uint8 for kept in first for array in kept.values())
    want = whole(made, [integers], found.samples)
    for got, right in zip(steps.advance([integers]), want, strict=True):
        np.testing.assert_array_equal(got[integers], right[integers])


def test_what_nobody_reads_any_more_is_forgotten():
    made = model()
    steps = Stepwise(made, graphs.feeds(made, 2, c=np.array(True)), ["r", "f"], OPTIMIZED)
    steps.advance(["r"])
    assert steps.held() == {"r"}
    steps.advance(["f"])
    assert not steps.held()


def test_weights_may_change_between_steps():
    made = model()
    samples = graphs.feeds(made, 2, c=np.array(True))
    steps = Stepwise(made, samples, ["r", "d"], OPTIMIZED)
    first = steps.advance(["r"])
    value = made.graph.initializers["v"]
    value.const_value = ir.tensor(np.zeros((4, 4, 1, 1), np.float32), name="v")
    for kept in steps.advance(["d"]):
        want = np.broadcast_to(graphs.numbers(2, 4).reshape(1, 4, 1, 1), (1, 4, 6, 6))
        np.testing.assert_allclose(kept["d"], want)
    assert len(first) == 2


def test_inputs_of_the_model_can_be_asked_for():
    made = model()
    samples = graphs.feeds(made, 2, c=np.array(True))
    steps = Stepwise(made, samples, ["x", "r"], OPTIMIZED)
    for got, sample in zip(steps.advance(["x"]), samples, strict=True):
        np.testing.assert_array_equal(got["x"], sample["x"])
    assert len(steps.advance(["r"])) == 2


def test_samples_that_do_not_fit_into_memory_are_given_up():
    made = model()
    samples = graphs.feeds(made, 4, c=np.array(True))
    # A sample holds its input, a condition and what the next step reads: 576 bytes an array.
    steps = Stepwise(made, samples, ["r", "f"], OPTIMIZED, memory=2 * (2 * 576 + 1))
    assert len(steps.advance(["r"])) == 2
    assert len(steps.advance(["f"])) == 2
    tight = Stepwise(made, samples, ["r"], OPTIMIZED, memory=1)
    assert len(tight.advance(["r"])) == 1
