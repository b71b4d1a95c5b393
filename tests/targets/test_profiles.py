"""Profiles are data: complete, with sources, and about operators that edgeq knows."""

import pytest

from edgeq.ops import RULES
from edgeq.passes.convert_once import convert_once
from edgeq.passes.fuse_for_onnxruntime import fuse_for_onnxruntime
from edgeq.passes.lift_half import lift_half
from edgeq.passes.pipelines import flat, for_finishing, for_quantizing, for_target
from edgeq.passes.raise_opset import raise_opset
from edgeq.passes.recognize_hard_swish import recognize_hard_swish
from edgeq.passes.spell_residuals import spell_residuals
from edgeq.passes.split_prelu import split_prelu
from edgeq.passes.widen_channels import widen_channels
from edgeq.quantization.fitting import _HOLDS
from edgeq.targets import TARGETS, Condition, Execution, Form, PairSums, Placement, target_named
from edgeq.types import QuantType

KNOWN = {rule.op_type: rule for rule in RULES}
profiles = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


def test_the_targets_of_the_contract_are_there():
    assert [target.name for target in TARGETS] == [
        "cpu", "x86-vnni", "x86-avx2", "arm64", "arm64-nodot", "wasm", "xnnpack", "nnapi",
        "coreml", "qnn-htp", "tensorrt", "edge-generic",
    ]  # fmt: skip
    assert all(target_named(target.name) is target for target in TARGETS)


@profiles
def test_every_row_is_of_an_operator_with_a_rule_and_has_a_source(target):
    for row in target.kernels:
        assert row.op_type in KNOWN
        assert row.source
        if row.weight_ranks or row.weight is not None:
            assert KNOWN[row.op_type].weight_axis is not None


@profiles
def test_a_profile_says_where_it_comes_from(target):
    assert target.sources
    assert target.summary
    assert len(target.summary) <= 80
    assert target.minimum_opset >= 13  # from there on DequantizeLinear has an axis


@profiles
def test_types_have_8_bits_and_rows_take_those_of_their_target(target):
    assert target.activation.bits == target.weight.bits == 8
    own = [row for row in target.kernels if not row.provider and row.activations]
    assert all(target.activation in row.activations for row in own)


@profiles
def test_activation_functions_join_as_the_type_of_activations_allows(target):
    """A range around zero cannot express a Relu: it has to stay, fused or for itself."""
    placements = {row.placement for row in target.rows("Relu")}
    if target.activation_symmetric:
        assert placements == {Placement.FUSED}
    elif target.kernels:
        assert Placement.ABSORBED in placements


@profiles
def test_dynamic_forms_need_onnxruntimes_own_operators(target):
    if any(row.form is Form.DYNAMIC for row in target.kernels):
        assert target.contrib_operators


def test_every_condition_is_checked():
    assert set(_HOLDS) == set(Condition)


def test_only_portable_x86_and_avx2_add_in_pairs():
    by_sums = {target.name: target.pair_sums for target in TARGETS}
    assert by_sums.pop("cpu") is PairSums.SOME
    assert by_sums.pop("x86-avx2") is PairSums.ALL
    assert set(by_sums.values()) == {PairSums.EXACT}


def test_times_are_known_on_the_machine_of_the_target_only():
    assert target_named("arm64").times_on("aarch64")
    assert not target_named("arm64").times_on("x86_64")
    assert target_named("x86-vnni").times_on("AMD64")
    assert target_named("cpu").times_on("x86_64")
    assert target_named("cpu").times_on("arm64")
    assert not any(t.times_on("x86_64") for t in TARGETS if t.execution is Execution.EMULATED)
    assert not target_named("wasm").times_on("wasm")


@profiles
def test_passes_follow_from_facts(target):
    passes = set(flat(for_target(target)))
    assert (fuse_for_onnxruntime in passes) is (target.contrib_operators and target.executable_here)
    assert (lift_half in passes) is not target.half_kernels
    assert (raise_opset in passes) is (target.maximum_opset is not None)
    assert (split_prelu in passes) is ("PRelu" in target.slow_operators)
    slow = "SkipLayerNormalization" in target.slow_operators
    assert (spell_residuals in passes) is slow
    last = set(flat(for_finishing(target)))
    assert (spell_residuals in last) is slow
    assert (convert_once in last) is target.contrib_operators


@profiles
def test_preparation_follows_from_facts(target):
    """NPUs have PRelu and HardSwish; onnxruntime is faster without, and has halves in integers."""
    passes = set(flat(for_quantizing(target)))
    assert (split_prelu in passes) is ("PRelu" in target.slow_operators)
    assert (recognize_hard_swish in passes) is bool(target.rows("HardSwish"))
    assert (raise_opset in passes) is ((target.maximum_opset or 0) >= 17)
    wide = any(row.whole_vectors for row in target.rows("Conv"))
    assert (widen_channels in passes) is wide is target.contrib_operators
    if target.rows("HardSwish"):
        assert target.minimum_opset >= 14


def test_tensorrt_sees_no_zero_point_and_no_integer_bias():
    target = target_named("tensorrt")
    assert target.activation_symmetric
    assert not target.integer_bias
    assert target.activation is QuantType.INT8


def test_unknown_targets_are_refused_with_the_nearest_name():
    from edgeq.errors import RecipeError

    with pytest.raises(RecipeError, match="Did you mean 'qnn-htp'"):
        target_named("qnn_htp")
