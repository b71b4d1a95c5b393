"""Matrices of one part are tried together."""

import graphs

from edgeq.recipe import Recipe
from edgeq.weight_only.alike import alike
from edgeq.weight_only.tables import find_tables


def blocks(count):
    """Blocks of two products, whose shapes are the same and whose parts are not."""
    text, value = "", "x"
    for n in range(count):
        text += f" a{n} = MatMul({value}, u{n}) b{n} = Relu(a{n}) c{n} = MatMul(b{n}, v{n})"
        text += f" d{n} = Tanh(c{n})"
        value = f"d{n}"
    names = [f"{kind}{n}" for n in range(count) for kind in "uv"]
    return graphs.build(
        f"n (float[2,64] x) => (float[2,64] y) {{{text} y = Identity({value}) }}",
        **{name: graphs.numbers(seed, 64, 64) for seed, name in enumerate(names)},
    )


def groups(count, most):
    tables = find_tables(blocks(count), Recipe()).tables
    return [[table.name for table in group] for group in alike(tables, most)]


def test_each_is_alone_where_there_is_room():
    assert sorted(groups(3, 6)) == [["u0"], ["u1"], ["u2"], ["v0"], ["v1"], ["v2"]]


def test_neighbours_of_one_part_come_together_where_there_is_none():
    found = groups(8, 10)
    assert len(found) <= 10
    assert max(map(len, found)) == 2
    assert all(len({name[0] for name in group}) == 1 for group in found)
    assert ["u0", "u1"] in found
    assert ["v2", "v3"] in found


def test_there_are_never_more_groups_than_allowed():
    assert groups(3, 1) == [["u0", "v0", "u1", "v1", "u2", "v2"]]
    assert [len(group) for group in groups(4, 3)] == [3, 3, 2]
