import numpy as np
import onnx_ir as ir
import pytest
from pass_graphs import listing, model, numbers, ops

from edgeq.passes import pipelines
from edgeq.passes.outcome import Outcome
from edgeq.passes.pipelines import FINALIZE, PREPARE, PassFailed, Repeat, names, run_pipeline
from edgeq.passes.prepare import prepare
from edgeq.passes.proof import Reference, difference, prove
from edgeq.passes.random_inputs import random_samples

TEXT = """
g (float[N,4] x, float[4,4] w) => (float[N,4] y) {
  a = Identity(x)
  b = MatMul(a, w)
  y = Relu(b)
}
"""


def graph():
    return model(TEXT, w=numbers(4, 4) - 1)


def spoil(found):
    """A pass that is wrong: the first Relu becomes an Abs."""
    for node in found.graph:
        if node.op_type == "Relu":
            node.op_type = "Abs"
            return Outcome(1)
    return Outcome()


def crash(found):
    raise KeyError("lost")


def test_the_original_is_left_as_it_is():
    before = graph()
    text = listing(before)
    done = prepare(before)
    assert listing(before) == text
    assert ops(done.model) == ["MatMul", "Relu"]
    assert done.proof.holds
    assert done.notes == ()


@pytest.mark.parametrize("wrong", [spoil, crash])
def test_a_guilty_pass_is_left_out(wrong):
    done = prepare(graph(), pipeline=(*PREPARE[:2], wrong, *PREPARE[2:]))
    assert ops(done.model) == ["MatMul", "Relu"]
    assert done.proof.holds
    assert done.notes[0].startswith(f"Pass {wrong.__name__} was left out: ")
    assert wrong.__name__ not in {r.name for r in done.reports}


def test_without_samples_that_run_there_is_no_proof():
    text = (
        "g (float[N,4] x) => (float[N] y) { c = Constant<value_int=7>() y = Gather<axis=1>(x, c) }"
    )
    done = prepare(model(text), [{"x": np.zeros((1, 9, 9), np.float32)}])
    assert not done.proof.holds
    assert done.proof.failure is None
    assert done.notes[0].startswith("Prepared without proof")


def test_a_model_that_the_runtime_does_not_load_is_no_fault_of_a_pass():
    text = """<ir_version: 8, opset_import: ["": 17, "acme": 1]>
    g (float[N,4] x) => (float[N,4] y) { a = Identity(x) y = acme.Fancy(a) }
    """
    done = prepare(ir.from_onnx_text(text))
    assert ops(done.model) == ["Fancy"]
    assert done.dropped == ()
    assert not done.proof.holds
    assert done.notes[0].startswith("Prepared without proof")


def test_samples_that_do_not_run_are_told_and_random_ones_serve():
    reference = Reference(graph(), [{"x": np.zeros((1, 9), np.float32)}], random_samples(graph()))
    assert "shapes x [1, 9]" in reference.problem
    assert len(reference.samples) == 2
    assert reference.prove(graph()).holds


def test_an_output_that_rounding_alone_changes_says_nothing():
    text = "g (float[4] x, float k) => (int64[4] y) { a = Mul(x, k) y = Cast<to=7>(a) }"
    one, other = (model(text, k=np.float32(k)) for k in (2.0**23, 2.0**23 + 1))
    ragged, steady = ({"x": np.full(4, x, np.float32)} for x in (1.7, 1.5 * 2.0**-23))
    assert prove(one, other, [ragged]).failure is None
    assert not prove(one, other, [ragged]).holds
    assert prove(one, model(text, k=np.float32(0)), [steady]).failure == "output y: other numbers"


def test_passes_can_be_skipped():
    done = prepare(graph(), skip={"remove_noops"})
    assert "Identity" in ops(done.model)


def test_reports_add_up_over_rounds():
    found = graph()
    reports = run_pipeline(found, PREPARE)
    by_name = {r.name: r for r in reports}
    assert by_name["remove_noops"].changes == 1
    assert sum(r.nodes_after - r.nodes_before for r in reports) == -1
    assert [r.name for r in reports] == list(names(PREPARE))
    assert all(r.changes == 0 for r in run_pipeline(found, FINALIZE))


def test_a_repeated_group_ends():
    runs = []

    def restless(found):
        runs.append(1)
        return Outcome(1)

    run_pipeline(graph(), (Repeat((restless,), rounds=3),))
    assert len(runs) == 3


def test_a_crash_names_its_pass():
    with pytest.raises(PassFailed, match="crash: the graph pass failed: KeyError"):
        run_pipeline(graph(), (crash,))


def test_differences():
    one, two = np.array([1.0, -4.0], np.float32), np.array([1.0, -3.0], np.float32)
    assert difference(one, two) == 0.25
    assert difference(one, one.astype(np.float64)) == "float64[2] instead of float32[2]"
    assert difference(np.array([np.nan, 1]), np.array([np.nan, 1])) == 0
    assert difference(np.array([np.inf]), np.array([-np.inf])) == "other infinite numbers"
    assert isinstance(difference(np.array([np.nan, 1]), np.array([1, 1.0])), str)
    assert difference(np.array([1, 2]), np.array([1, 3])) == "other numbers"


def test_random_samples_that_are_answered_by_rounding_alone_are_passed_over():
    found = model("g (float[N,4] x) => (float[N,4] y) { y = Sin(x) }")
    chaotic, steady = ({"x": np.full((n, 4), x, np.float32)} for n, x in ((1, 2.0**20), (2, 0.7)))
    reference = Reference(found, random=[chaotic, chaotic, steady, steady])
    assert [sample["x"].shape for sample in reference.samples] == [(2, 4), (2, 4)]
    assert len(Reference(found, random=[chaotic]).samples) == 1


def test_a_proof_speaks_of_the_output():
    wrong = graph()
    spoil(wrong)
    proof = prove(graph(), wrong, [*random_samples(graph())][:2])
    assert proof.failure.startswith("output y: off by")


def test_random_samples_vary_the_symbolic_dimensions():
    assert [s["x"].shape for s in random_samples(graph())][:2] == [(1, 4), (2, 4)]


def test_pipelines_list_passes_by_their_file():
    for name in names(PREPARE) + names(FINALIZE):
        assert name in vars(pipelines)


def test_rounding_that_the_model_magnifies_is_no_fault_of_a_pass():
    text = """
    g (float[1,8,6,6] x, float[8,8,3,3] w, float[8] gain, float[8] shift, float[8] mean,
       float[8] variance) => (float[1,8,4,4] y) {
      a = Conv(x, w)
      b = BatchNormalization <epsilon = 0.0> (a, gain, shift, mean, variance)
      y = Relu(b)
    }
    """
    weight = numbers(8, 8, 3, 3)
    steady = {
        "mean": weight.sum(axis=(1, 2, 3)),
        "variance": np.full(8, 1e-7, np.float32),
        "gain": np.ones(8, np.float32),
        "shift": np.ones(8, np.float32),
    }
    found = model(text, w=weight, **steady)
    noise = [np.random.default_rng(i).standard_normal((1, 8, 6, 6)) for i in range(3)]
    done = prepare(found, [{"x": (1 + 3e-4 * n).astype(np.float32)} for n in noise])
    assert done.notes == ()
    assert ops(done.model) == ["Conv", "Relu"]


def test_answers_that_are_the_rounding_of_a_sigmoid_are_alike():
    step = np.float32(2.0**-25)
    assert difference(step * np.array([0, 3], np.float32), step * np.array([2, 1], "f")) == 0
    assert difference(step * np.array([0, 3], np.float32), step * np.array([64, 1], "f")) > 1
    assert difference(np.array([1.3e-7], np.float32), np.array([1.1e-7], np.float32)) > 0.1
    found = model("g (float[N,4] x) => (float[N,4] y) { y = Sigmoid(x) }")
    low, clear = ({"x": np.full((n, 4), x, np.float32)} for n, x in ((1, -16.0), (2, 0.7)))
    reference = Reference(found, random=[low, clear, clear])
    assert [sample["x"].shape for sample in reference.samples] == [(2, 4), (2, 4)]


def test_padding_reaches_the_layer_behind_arithmetic_that_it_takes_up():
    text = """
g (float[1,3,8,8] x, int64[8] pads, float mean, float deviation, float[2,3,3,3] w, float[2] b)
=> (float[1,2,8,8] y) {
  p = Pad(x, pads)
  m = Sub(p, mean)
  n = Div(m, deviation)
  y = Conv(n, w, b)
}
"""
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    data = {"mean": np.float32(0.4), "deviation": np.float32(0.2), "pads": pads}
    found = model(text, **data, w=numbers(2, 3, 3, 3), b=numbers(2))
    prepared = prepare(found)
    assert ops(prepared.model) == ["Conv"]
    assert prepared.proof.holds


def test_a_pass_that_had_nothing_to_do_waits_for_news():
    runs = []

    def idle(found):
        del found
        runs.append("idle")
        return Outcome()

    def once(found):
        del found
        runs.append("once")
        return Outcome(changes=runs.count("once") == 1)

    def learns(found):
        del found
        runs.append("learns")
        return Outcome(learned=runs.count("learns") == 1)

    run_pipeline(graph(), (Repeat((idle, once, learns)), idle))
    assert runs == ["idle", "once", "learns", "idle", "once"]


def test_a_pass_that_leaves_the_graph_out_of_order_is_left_out():
    def shuffle(found):
        nodes = list(found.graph)
        found.graph.remove(nodes[0])
        found.graph.append(nodes[0])
        return Outcome(1)

    done = prepare(graph(), pipeline=(shuffle,))
    assert [each.name for each in done.dropped] == ["shuffle"]
    assert "before anything computes it" in done.dropped[0].reason


def test_the_steps_of_the_runtimes_sigmoid_are_rounding_on_either_side():
    exact = np.array([1.234e-6, 2.2e-6], np.float32)
    stepped = (np.round(exact * 2.0**25) / 2.0**25).astype(np.float32)
    assert difference(exact, stepped) == difference(stepped, exact) == 0
    assert difference(exact, exact * np.float32(1.01)) == pytest.approx(0.01, rel=1e-3)
