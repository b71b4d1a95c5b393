"""Why a node stays float."""

from dataclasses import replace

import graphs
import numpy as np
import pytest

from edgeq.errors import RecipeError
from edgeq.quantization.annotate import annotate
from edgeq.quantization.eligibility import require_rules
from edgeq.quantization.plan import NodeForm
from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU
from edgeq.targets.profile import KernelRow, Placement

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1)


def decision(text, node="c", recipe=None, **constants):
    return annotate(graphs.build(text, **constants), CPU, recipe or Recipe()).decisions.get(node)


@pytest.mark.parametrize(
    ("text", "constants", "reason"),
    [
        (
            "n (float16[1,3,4,4] x) => (float16[1,3,4,4] z) { [c] z = Conv(x, w) }",
            {"w": W.astype(np.float16)},
            "its input 'x' is FLOAT16, not float32",
        ),
        (
            "n (float[1,3,4,4] x, float[3,3,1,1] w) => (float[1,3,4,4] z) { [c] z = Conv(x, w) }",
            {},
            "its second factor is computed, not constant",
        ),
        (
            "n (float[1,3,4,4] x, float[3] b) => (float[1,3,4,4] z) { [c] z = Conv(x, w, b) }",
            {"w": W},
            "its bias is computed, not constant",
        ),
        (
            "n (float[5,2,3] x) => (float[5,1,2,4] z) { [c] z, h = GRU<hidden_size=4>(x, w, r) }",
            {"w": graphs.numbers(1, 1, 12, 3), "r": graphs.numbers(2, 1, 12, 4)},
            "no integer kernel is known for GRU",
        ),
    ],
)
def test_the_reason_says_what_does_not_fit(text, constants, reason):
    found = decision(text, **constants)
    assert (found.form, found.reason) == (NodeForm.FLOAT, reason)


def test_an_initializer_that_callers_may_override_is_no_weight():
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=W)
    model.graph.inputs.append(model.graph.initializers["w"])
    found = annotate(model, CPU, Recipe()).decisions["c"]
    assert found.reason == "its weight is an input with a default value, which callers may replace"


@pytest.mark.parametrize("pattern", ["c", "Conv", "C*", "?"])
def test_patterns_match_names_and_operators(pattern):
    found = decision(f"{IO} {{ [c] z = Conv(x, w) }}", recipe=Recipe(exclude=(pattern,)), w=W)
    assert found.reason == "excluded by the recipe"


def test_an_operator_of_another_domain_has_no_rule():
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=W)
    model.graph[0].domain = "my.domain"
    assert "c" not in annotate(model, CPU, Recipe()).decisions


def test_nodes_without_arithmetic_need_no_reason():
    assert decision(f"{IO} {{ [c] z = Sin(x) }}") is None


def test_a_target_cannot_ask_for_a_spelling_that_there_is_not():
    row = KernelRow("Mul", Placement.BRIDGE, respelled=True)
    with pytest.raises(RecipeError, match="cannot put Mul into other operators"):
        require_rules(replace(CPU, kernels=(row,)))
