"""What gets which spec, and which uses read a float value quantized."""

import graphs
import numpy as np

from edgeq.quantization.annotate import annotate
from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU
from edgeq.types import (
    DerivedSpec,
    EdgeRef,
    FixedSpec,
    QuantSpec,
    QuantType,
    SharedSpec,
    ValueRef,
)

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1, scale=0.5)
UINT8 = QuantSpec(QuantType.UINT8)


def annotated(text, recipe=None, excluded=None, **constants):
    return annotate(graphs.build(text, w=W, **constants), CPU, recipe or Recipe(), excluded)


def test_every_role_gets_its_spec():
    text = (
        f"{IO} {{ [c] y = Conv(x, w, b) [t] u = Transpose<perm=[0,1,3,2]>(y)"
        " [s] v = Sigmoid(u) [d] z = Conv(v, w) }"
    )
    found = annotated(text, Recipe(include=("Sigmoid",)), b=np.ones(3, np.float32))
    weight = QuantSpec(QuantType.INT8, symmetric=True, axis=0)
    assert found.specs == {
        ValueRef("x"): UINT8,
        EdgeRef("c", 1): weight,
        EdgeRef("c", 2): DerivedSpec(ValueRef("x"), EdgeRef("c", 1)),
        ValueRef("y"): UINT8,
        ValueRef("u"): SharedSpec(ValueRef("y")),
        ValueRef("v"): FixedSpec(QuantType.UINT8, 0.0, 1.0),
        EdgeRef("d", 1): weight,
        ValueRef("z"): UINT8,
    }
    assert {ref.name for ref in found.observed()} == {"x", "y", "z"}


def test_only_values_made_in_float_list_their_readers():
    text = f"{IO} {{ [c] y = Conv(x, w) [a] s = Add(y, y) [d] z = Conv(s, w) }}"
    assert annotated(text).readers == {ValueRef("x"): (EdgeRef("c", 0),)}


def test_a_dynamic_node_has_specs_for_its_weights_only():
    text = "n (float[2,3] x) => (float[2,3] z) { [m] z = MatMul(x, k) }"
    found = annotated(text, k=graphs.numbers(2, 3, 3))
    assert set(found.specs) == {EdgeRef("m", 1)}
    assert not found.observed()


def test_a_computed_weight_on_request_is_an_activation():
    text = "n (float[2,3] x, float[3,3] k) => (float[2,3] z) { [m] z = MatMul(x, k) }"
    found = annotated(text, Recipe(include=("m",)))
    assert found.specs == {ValueRef("x"): UINT8, ValueRef("k"): UINT8}
    assert found.readers[ValueRef("k")] == (EdgeRef("m", 1),)


def test_nodes_excluded_by_the_search_keep_its_reason():
    text = f"{IO} {{ [c] y = Conv(x, w) [d] z = Conv(y, w) }}"
    found = annotated(text, excluded={"c": "no calibration sample reached it"})
    assert found.decisions["c"].reason == "no calibration sample reached it"
    assert found.decisions["d"].reason == ""


def test_annotating_changes_nothing():
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=W)
    before = graphs.show(model)
    annotate(model, CPU, Recipe())
    assert graphs.show(model) == before
