"""Tables that rows are looked up in take a quarter of the space."""

import numpy as np
import onnx_ir as ir
import pytest

from edgeq.graph import walk
from edgeq.quantization.lookups import store_lookups
from edgeq.recipe import Recipe
from edgeq.runtime.session import Session

RNG = np.random.default_rng(5)
TABLE = (RNG.standard_normal((1024, 80)) * RNG.uniform(0.01, 10, (1024, 1))).astype(np.float32)
PLACES = {"places": np.array([[0, 7, 1023], [-1, 500, 7]])}
HEAD = '<ir_version: 8, opset_import: ["": 13]> g (int64[2,3] places, float[1024,80] table)'
LOOKUP = "(float[2,3,80] y) { y = Gather(table, places) }"


def embedding(text, table=TABLE):
    """A graph that reads ``table``, by its text behind the inputs."""
    found = ir.from_onnx_text(f"{HEAD} => {text}")
    value = next(v for v in found.graph.inputs if v.name == "table")
    found.graph.inputs.remove(value)
    value.const_value = ir.Tensor(table, name="table")
    found.graph.register_initializer(value)
    for index, node in enumerate(walk.nodes(found)):
        node.name = node.name or f"{node.op_type.lower()}_{index}"
    return found


def stored_bytes(found):
    return sum(v.const_value.nbytes for v in found.graph.initializers.values())


def run(found):
    return next(iter(Session(found).run(PLACES).values()))


def test_a_table_takes_a_quarter_and_every_row_keeps_its_precision():
    found = embedding(LOOKUP)
    right = run(found)
    told = store_lookups(found, Recipe())
    assert told == ("The 1024 x 80 table table is stored in 8 bits, a scale for each row",)
    assert stored_bytes(found) == TABLE.size + 4 * len(TABLE)
    step = np.abs(right).max(axis=-1, keepdims=True) / 127
    assert (np.abs(run(found) - right) <= 0.501 * step).all()


def test_a_row_of_zeros_stays_zero():
    found = embedding(LOOKUP, np.where(np.arange(1024)[:, None] == 7, 0, TABLE))
    store_lookups(found, Recipe())
    assert not run(found)[0, 1].any()


def test_all_that_read_it_share_what_is_stored():
    text = "(float[2,3,80] y) { a = Gather(table, places) b = Gather(table, places) y = Add(a, b) }"
    found = embedding(text)
    right = run(found)
    assert len(store_lookups(found, Recipe())) == 1
    assert stored_bytes(found) == TABLE.size + 4 * len(TABLE)
    np.testing.assert_allclose(run(found), right, atol=np.abs(right).max() / 100)


@pytest.mark.parametrize(
    "text",
    [
        "(float[2,3,1024] y) { a = Gather(table, places) t = Transpose(table) y = MatMul(a, t) }",
        "(float[1024,2,3] y) { y = Gather<axis=1>(table, places) }",
        "(float[2,3,80] y, float[1024,80] t) { y = Gather(table, places) t = Identity(table) }",
    ],
)
def test_a_table_that_something_else_needs_stays(text):
    assert store_lookups(embedding(text), Recipe()) == ()


@pytest.mark.parametrize(
    "table", [TABLE[:512], np.where(TABLE.max() == TABLE, np.nan, TABLE)], ids=["small", "nan"]
)
def test_a_table_that_is_small_or_not_finite_stays(table):
    found = embedding(LOOKUP.replace("1024", str(len(table))), table)
    assert store_lookups(found, Recipe()) == ()


def test_the_user_can_keep_it_float():
    found = embedding(LOOKUP)
    assert store_lookups(found, Recipe(exclude=("gather_0",))) == ()
