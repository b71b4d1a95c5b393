"""The peak of the arena: by hand, and against a simulation of random programs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.estimation.arena import peak
from edgeq.estimation.work import Step, Work


def step(name, reads, writes):
    return Step(name, "Op", 0, "", tuple(reads), tuple(writes), 0)


def test_a_residual_is_kept_until_it_is_added():
    steps = [
        step("a", ["x"], ["a"]),
        step("b", ["a"], ["b"]),
        step("c", ["b"], ["c"]),
        step("d", ["a", "c"], ["y"]),
    ]
    sizes = {"x": 10, "a": 100, "b": 300, "c": 100, "y": 100}
    found = peak(Work(tuple(steps), sizes, ("x",), ("y",), 0))
    assert found.size == 500
    assert found.step == "c"
    assert found.alive == (("b", 300), ("a", 100), ("c", 100))


def test_another_order_of_the_same_graph_has_another_peak():
    wide = step("wide", ["x"], ["w"]), step("narrow", ["w"], ["n"])
    other = step("other", ["x"], ["o"])
    join = step("join", ["n", "o"], ["y"])
    sizes = {"x": 1, "w": 100, "n": 1, "o": 50, "y": 1}
    early = peak(Work((other, *wide, join), sizes, ("x",), ("y",), 0))
    late = peak(Work((*wide, other, join), sizes, ("x",), ("y",), 0))
    assert (early.size, late.size) == (151, 102)


def test_a_model_without_steps_holds_its_inputs():
    assert peak(Work((), {"x": 7}, ("x",), ("x",), 0)).size == 7


@st.composite
def programs(draw):
    """Steps that read what is there and write one new buffer each."""
    there, steps = ["x"], []
    for place in range(draw(st.integers(1, 8))):
        reads = draw(st.lists(st.sampled_from(there), min_size=1, max_size=3, unique=True))
        steps.append(step(f"s{place}", reads, [f"b{place}"]))
        there.append(f"b{place}")
    sizes = {name: draw(st.integers(0, 50)) for name in there}
    return Work(tuple(steps), sizes, ("x",), (there[-1],), 0)


@settings(max_examples=60, deadline=None)
@given(programs())
def test_the_peak_is_that_of_a_simulation(work):
    held, most = set(work.inputs), 0
    for place, each in enumerate(work.steps):
        held |= set(each.writes)
        most = max(most, sum(work.sizes[name] for name in held))
        later = {name for after in work.steps[place + 1 :] for name in after.reads}
        held &= later | set(work.outputs)
    assert peak(work).size == most
