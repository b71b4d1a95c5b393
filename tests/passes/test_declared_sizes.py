"""Sizes that exporters write as arithmetic are read as such; anything else is a name."""

import pytest

from edgeq.passes import dims
from edgeq.passes.declared_sizes import parse
from edgeq.passes.dims import symbol

PAST, NEW = symbol("past_length"), symbol("s7")
KNOWN = ("past_length", "s7")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("past_length", PAST),
        ("past_length + s7", dims.add(PAST, NEW)),
        ("2*s7 - 1", dims.subtract(dims.multiply(2, NEW), 1)),
        ("(past_length + 1) * s7", dims.multiply(dims.add(PAST, 1), NEW)),
        ("12", 12),
    ],
)
def test_sums_and_products(text, size):
    assert parse(text, KNOWN) == size


@pytest.mark.parametrize(
    "text",
    ["batch size", "floor(s7/2)", "s7 // 2", "?", "a.b", "-s7", "True", "\0", "(" * 300, "s7-len"],
)
def test_anything_else_is_one_name(text):
    assert parse(text, KNOWN) == symbol(text)
