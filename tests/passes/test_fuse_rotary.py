"""Rotations by places become RotaryEmbedding, with equal outputs."""

import graphs
import numpy as np
import pytest

from edgeq.graph import check, walk
from edgeq.passes.fuse_rotary import fuse_rotary
from edgeq.passes.pipelines import FINALIZE, for_target, names, run_pipeline
from edgeq.runtime.session import Session
from edgeq.targets import target_named

HEADS, CHANNELS, PLACES = 3, 8, 32

ROTATED = """
    low{n} = Slice(x{n}, zero, half, last)
    high{n} = Slice(x{n}, half, end, last)
    minus{n} = Neg(high{n})
    swapped{n} = Concat<axis = -1>(minus{n}, low{n})
    one{n} = Mul(x{n}, cosines)
    other{n} = Mul(swapped{n}, sines)
    y{n} = Add(one{n}, other{n})
"""
TEXT = (
    """net (float[b,3,s,8] x0, float[b,3,s,8] x1, int64[c,s] places) =>
  (float[b,3,s,8] y0, float[b,3,s,8] y1) {
    cos_rows = Gather(cos, places)
    cosines = Unsqueeze(cos_rows, axis)
    sin_rows = Gather(sin, places)
    sines = Unsqueeze(sin_rows, axis)
  """
    + "".join(ROTATED.format(n=n) for n in range(2))
    + "}"
)


def tables():
    angles = np.outer(np.arange(PLACES), 10.0 ** -np.arange(CHANNELS // 2)).astype(np.float32)
    return {k: np.tile(f(angles), (1, 2)) for k, f in (("cos", np.cos), ("sin", np.sin))}


def net(text=TEXT, **others):
    numbers = {"zero": [0], "half": [4], "end": [2**62], "last": [-1], "axis": [1]}
    ints = {name: np.asarray(given, np.int64) for name, given in numbers.items()}
    return graphs.build(text, **{**tables(), **ints, **others})


def fused(model):
    copy = model.clone()
    outcome = fuse_rotary(copy)
    run_pipeline(copy, FINALIZE)
    check.check(copy)
    return copy, outcome


def operators(model):
    return [node.op_type for node in walk.nodes(model)]


def sample(places, batch=2):
    shape = (batch, HEADS, np.shape(places)[1], CHANNELS)
    xs = {f"x{n}": graphs.numbers(n, *shape) for n in range(2)}
    return {**xs, "places": np.asarray(places, np.int64)}


@pytest.mark.parametrize(
    "fed",
    [
        sample([[0, 1, 2, 3, 4]], batch=1),
        sample([[7]], batch=1),
        sample([[5, 6], [11, 12]]),
        # One row for all of a batch, and places counted from the end.
        sample([[3, 4, 31]]),
        sample([[-1, 0], [-32, 30]]),
        sample([[n % PLACES for n in range(PLACES + 3)]]),
    ],
    ids=["prefill", "decode", "batch", "broadcast", "negative", "more tokens than places"],
)
def test_outputs_are_equal(fed):
    model = net()
    made, outcome = fused(model)
    assert outcome.changes == 2
    want, got = Session(model).run(fed), Session(made).run(fed)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-6)


def test_tables_and_places_are_shared_and_the_pieces_are_gone():
    made, _ = fused(net())
    found = operators(made)
    assert found.count("RotaryEmbedding") == 2
    assert found.count("Range") == 1
    assert not {"Neg", "Concat", "Slice", "Mul"} & set(found)
    halves = [v for v in made.graph.initializers.values() if v.shape == (PLACES, CHANNELS // 2)]
    assert len(halves) == 2


COMPUTED = (
    TEXT.replace("int64[c,s] places", "float[c,s] places")
    .replace(
        """    cos_rows = Gather(cos, places)
""",
        """    column = Unsqueeze(places, behind)
    angles = Mul(column, rates)
    others = Neg(angles)
    twice = Concat<axis = -1>(angles, SECOND)
    cosine = Cos(twice)
    cos_rows = Mul(cosine, stretch)
""",
    )
    .replace("Gather(sin, places)", "Sin(twice)")
)


def computed(second, scaled="Mul(cosine, stretch)"):
    rates = (10.0 ** -np.arange(CHANNELS // 2)).astype(np.float32)
    others = {"rates": rates, "behind": np.array([2]), "stretch": np.float32(1.5)}
    text = COMPUTED.replace("SECOND", second).replace("Mul(cosine, stretch)", scaled)
    return net(text, **others)


@pytest.mark.parametrize(("rows", "batch"), [(2, 2), (1, 2), (1, 1)])
def test_angles_that_are_computed_are_rows_for_each_token(rows, batch):
    model = computed("angles")
    made, outcome = fused(model)
    assert outcome.changes == 2
    assert operators(made).count("Cos") == 1
    fed = sample(np.arange(5.0 * rows).reshape(rows, 5), batch=batch)
    fed["places"] = fed["places"].astype(np.float32)
    want, got = Session(model).run(fed), Session(made).run(fed)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-6)


def test_the_number_that_cosines_are_multiplied_by_may_stand_in_front():
    model = computed("angles", "Mul(stretch, cosine)")
    made, outcome = fused(model)
    assert outcome.changes == 2
    fed = sample([[0, 1, 2]])
    fed["places"] = fed["places"].astype(np.float32)
    want, got = Session(model).run(fed), Session(made).run(fed)
    np.testing.assert_allclose(got["y0"], want["y0"], rtol=1e-5, atol=1e-6)


def test_sizes_whose_names_say_nothing_are_not_taken_for_equal():
    assert operators(fused(net())[0]).count("Expand") == 1
    assert operators(fused(net(TEXT.replace("[b,", "[unk,")))[0]).count("Expand") == 2


def test_computed_angles_whose_halves_differ_are_left():
    made, outcome = fused(computed("others"))
    assert "RotaryEmbedding" not in operators(made)
    assert any("halves" in reason for reason in outcome.declined)


def test_a_second_time_there_is_nothing_to_do():
    made, _ = fused(net())
    assert fuse_rotary(made).changes == 0


@pytest.mark.parametrize(
    ("text", "others", "told"),
    [
        # Halves that differ, cuts elsewhere, the other half negated, other places for the sines.
        (TEXT, {"cos": np.cos(np.arange(256, dtype=np.float32)).reshape(32, 8)}, True),
        (TEXT, {"half": np.asarray([3])}, False),
        (TEXT.replace("(minus", "(low").replace(", low0)", ", minus0)"), {}, False),
        (TEXT.replace("Gather(sin, places)", "Gather(sin, others)")
         .replace("cos_rows =", "others = Neg(places) cos_rows ="), {}, True),
        (TEXT, {"last": np.asarray([2])}, False),
        # More angles than rows of a batch, one for all tokens, and numbers without a kernel.
        (TEXT.replace("[b,3,s,8] x", "[1,3,s,8] x").replace("[b,", "[c,"), {}, True),
        (TEXT.replace("int64[c,s]", "int64[c,1]"), {}, True),
        (TEXT.replace("float", "double"),
         {name: table.astype(np.float64) for name, table in tables().items()}, True),
    ],
)  # fmt: skip
def test_what_is_no_such_rotation_is_left(text, others, told):
    made, outcome = fused(net(text, **others))
    assert "RotaryEmbedding" not in operators(made)
    assert bool(outcome.declined) is told


def test_it_is_for_targets_that_have_the_operator():
    assert "fuse_rotary" in names(for_target(target_named("cpu")))
    assert "fuse_rotary" not in names(for_target(target_named("tensorrt")))
    assert "fuse_rotary" not in names(for_target(None))
