"""What a matrix does to the outputs is found by putting other numbers into its place."""

import graphs
import numpy as np
import onnx_ir as ir
import pytest

from edgeq.recipe import Recipe
from edgeq.weight_only.damage import Trials
from edgeq.weight_only.tables import find_tables

TIED = (
    "n (int64[2,7] ids) => (float[2,7,200] y) {"
    " [e] h = Gather(table, ids) [r] i = Relu(h) [head] y = MatMul(i, turned) }"
)


def tied():
    table = graphs.numbers(0, 200, 64)
    return graphs.build(TIED, table=table, turned=np.ascontiguousarray(table.T))


def trials(model, samples):
    tables = find_tables(model, Recipe()).tables
    return Trials(model, tables, samples), tables


def energy(array):
    return float(np.sum(np.square(array, dtype=np.float64)))


def test_the_damage_is_the_energy_of_the_error_over_that_of_the_output():
    model = tied()
    samples = [{"ids": np.arange(14).reshape(2, 7) + start} for start in (0, 50)]
    found, (table,) = trials(model, samples)
    weights = table.read()
    other = (weights + graphs.numbers(1, 200, 64, scale=0.1)).astype(np.float32)
    wrong = signal = 0.0
    for sample in samples:
        want = np.maximum(weights[sample["ids"]], 0) @ weights.T
        wrong += energy(np.maximum(other[sample["ids"]], 0) @ other.T - want)
        signal += energy(want)
    assert found.damage({table: other}) == pytest.approx(wrong / signal, rel=1e-4)
    assert found.damage({table: weights}) < 1e-12


def test_the_model_stays_as_it_was():
    model = tied()
    before = ir.to_proto(model).SerializeToString()
    found, (table,) = trials(model, [{"ids": np.arange(14).reshape(2, 7)}])
    found.damage({table: 0 * table.read()})
    assert ir.to_proto(model).SerializeToString() == before


def test_every_output_counts_alike_and_one_at_most():
    text = (
        "n (float[4,64] x) => (float[4,64] y, float[4,64] z) {"
        " [a] y = MatMul(x, u) [b] z = MatMul(x, v) }"
    )
    model = graphs.build(text, u=graphs.numbers(0, 64, 64), v=graphs.numbers(1, 64, 64))
    found, (first, second) = trials(model, graphs.feeds(model, 2))
    assert found.damage({first: -first.read()}) == pytest.approx(0.5)
    assert found.damage({first: first.read(), second: 0 * second.read()}) == pytest.approx(0.5)
    assert found.damage({first: np.full((64, 64), np.inf, np.float32)}) == pytest.approx(0.5)


def test_a_matrix_in_a_branch_is_reached_where_it_belongs_to_the_main_graph():
    text = (
        "n (bool c, float[2,64] x) => (float[2,64] y) { y = If (c) <"
        "then_branch = t () => (float[2,64] a) { [inside] a = MatMul(x, w) },"
        "else_branch = e () => (float[2,64] b) { b = Neg(x) }> }"
    )
    model = graphs.build(text, w=graphs.numbers(0, 64, 64))
    rows = graphs.numbers(3, 2, 64)
    for taken, harm in ((True, 1.0), (False, 0.0)):
        found, (table,) = trials(model, [{"c": np.asarray(taken), "x": rows}])
        assert found.reaches(table)
        assert found.damage({table: 0 * table.read()}) == pytest.approx(harm)


def test_caches_are_judged_by_what_the_model_makes_of_them():
    text = (
        "n (float[1,4,p,16] past, float[1,3,64] x) => (float[1,3,64] y, float[1,4,q,16] present) {"
        " [a] k = MatMul(x, u) [r] h = Reshape(k, shape)"
        " [t] i = Transpose <perm = [0, 2, 1, 3]> (h)"
        " [c] present = Concat <axis = 2> (past, i) [b] y = MatMul(x, v) }"
    )
    model = graphs.build(
        text,
        u=graphs.numbers(0, 64, 64),
        v=graphs.numbers(1, 64, 64),
        shape=np.array([1, 3, 4, 16]),
    )
    samples = [{"past": np.zeros((1, 4, 2, 16), np.float32), "x": graphs.numbers(2, 1, 3, 64)}]
    found, (keys, product) = trials(model, samples)
    assert found.damage({keys: 0 * keys.read()}) < 1e-12
    assert found.damage({product: 0 * product.read()}) == pytest.approx(1)


def test_pictures_of_any_height_are_no_caches():
    text = "n (float[1,3,h,64] x) => (float[1,3,h,32] y) { y = MatMul(x, w) }"
    model = graphs.build(text, w=graphs.numbers(0, 64, 32))
    found, (table,) = trials(model, [{"x": graphs.numbers(1, 1, 3, 5, 64)}])
    assert found.damage({table: 0 * table.read()}) == pytest.approx(1)
