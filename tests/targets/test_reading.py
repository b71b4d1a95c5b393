"""Profiles of users: what they may say, what they inherit, and how mistakes are told."""

import re
from pathlib import Path

import graphs
import pytest

from edgeq.errors import RecipeError
from edgeq.quantization.annotate import annotate
from edgeq.recipe import Recipe
from edgeq.targets import (
    Condition,
    Execution,
    Form,
    PairSums,
    Placement,
    TargetProfile,
    reading,
    target_named,
    toml,
)
from edgeq.targets.profile import KernelRow
from edgeq.types import QuantType

DOCUMENT = Path(__file__).parents[2] / "docs" / "targets.md"
ROW = '[[kernels]]\nop_type = "Conv"\nplacement = "compute"\n'


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return target_named(str(path))

    return read


@pytest.fixture
def refused(read):
    def refused(text, *parts):
        with pytest.raises(RecipeError) as caught:
            read(text)
        shown = f"{caught.value.what} | {caught.value.where} | {caught.value.remedy}"
        assert "mine.toml" in caught.value.where
        for part in parts:
            assert part in shown

    return refused


def test_the_example_of_the_documentation_quantizes(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "my_npu.toml"
    path.write_text(example, encoding="utf-8")
    target = target_named(str(path))
    assert target.name == "my-npu"
    text = """n (float[1,3,8,8] x) => (float[1,4,4,4] z) {
      [a] a = Conv(x, w) [r] r = Relu(a) [b] b = Conv(r, v) [s] s = Add(b, r)
      [p] p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(s) [c] c = Conv(p, v) [t] z = Tanh(c) }"""
    constants = {"w": graphs.numbers(1, 4, 3, 1, 1), "v": graphs.numbers(2, 4, 4, 1, 1)}
    found = graphs.quantize(graphs.build(text, **constants), target=target)
    assert found.static() == {"a", "b", "s", "p", "c"}
    assert found.reason("t") == "target my-npu has no integer kernel for Tanh"
    assert found.sqnr() > 25


def test_every_field_can_be_said(read):
    """All keys at once: each arrives in the dataclass, and none is forgotten."""
    profile_fields = set(TargetProfile.__dataclass_fields__) - {"kernels", "digest"}
    assert set(reading._PROFILE) == profile_fields
    assert set(reading._ROW) == set(KernelRow.__dataclass_fields__)
    target = read(
        """
        name = "n"
        summary = "s"
        activation = "int8"
        activation_symmetric = true
        wide_activation = "int16"
        weight = "uint8"
        per_channel = false
        reduce_range = true
        pair_sums = "all"
        integer_bias = false
        minimum_opset = 15
        maximum_opset = 18
        session_entries = { "session.x" = "1" }
        execution = "native"
        machines = ["riscv64"]
        contrib_operators = true
        half_kernels = true
        dynamic_shapes = false
        bodies = false
        slow_operators = ["PRelu"]
        float_operators = ["Relu"]
        sources = ["sheet"]
        [[kernels]]
        op_type = "LSTM"
        placement = "compute"
        form = "dynamic"
        needs_quantized_output = false
        computed_weight = "costly"
        dynamic_on_float = true
        data_ranks = [3]
        weight_ranks = [3]
        attributes = { direction = ["forward"], layout = [0] }
        conditions = ["last-axis", "static-image"]
        exact_sums = ["depthwise"]
        activations = ["int8", "uint8"]
        weight = "int8"
        per_channel = false
        respelled = true
        provider = "host"
        source = "table"
        """
    )
    (row,) = target.kernels
    assert row == KernelRow(
        "LSTM",
        Placement.COMPUTE,
        Form.DYNAMIC,
        needs_quantized_output=False,
        computed_weight=Placement.COSTLY,
        dynamic_on_float=True,
        data_ranks=frozenset({3}),
        weight_ranks=frozenset({3}),
        attributes={"direction": frozenset({"forward"}), "layout": frozenset({0})},
        conditions=frozenset({Condition.LAST_AXIS, Condition.STATIC_IMAGE}),
        exact_sums=frozenset({Condition.DEPTHWISE}),
        activations=frozenset({QuantType.INT8, QuantType.UINT8}),
        weight=QuantType.INT8,
        per_channel=False,
        respelled=True,
        provider="host",
        source="table",
    )
    assert (target.activation, target.weight) == (QuantType.INT8, QuantType.UINT8)
    assert target.pair_sums is PairSums.ALL
    assert (target.minimum_opset, target.maximum_opset) == (15, 18)
    assert target.session_entries == {"session.x": "1"}
    assert target.times_on("riscv64")
    assert target.sources == ("sheet",)


def test_what_is_not_said_is_as_in_the_base(read):
    target, cpu = read(f'base = "cpu"\nremove = ["LSTM"]\n{ROW}'), target_named("cpu")
    assert target.name == "mine"
    assert target.rows("Conv") == (
        KernelRow("Conv", Placement.COMPUTE, source=target.rows("Conv")[0].source),
    )
    assert not target.rows("LSTM")
    assert target.rows("MatMul") == cpu.rows("MatMul")
    assert target.maximum_opset == cpu.maximum_opset
    assert target.execution is Execution.EMULATED
    assert not target.machines


def test_profiles_of_one_name_and_other_content_are_told_apart(read):
    first, second = read(ROW), read(f"bodies = false\n{ROW}")
    assert first.name == second.name
    assert first.identity != second.identity
    assert target_named("cpu").identity == "cpu"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name = ", ("not a TOML file",)),
        ("", ("no operator in integers", 'base = "cpu"')),
        (f'activatoin = "int8"\n{ROW}', ("unknown key 'activatoin'", "'activation'")),
        (f'activation = "int7"\n{ROW}', (": activation", "no integer type of 8 bits", "'int8'")),
        (f'activation = "int16"\n{ROW}', ("no integer type of 8 bits",)),
        (f'base = "cpuu"\n{ROW}', (": base", "Did you mean 'cpu'")),
        (f"bodies = 1\n{ROW}", (": bodies", "true or false")),
        (f"minimum_opset = true\n{ROW}", (": minimum_opset", "whole number above 0")),
        (f"minimum_opset = 0\n{ROW}", ("whole number above 0",)),
        (f'pair_sums = "sum"\n{ROW}', (": pair_sums", "some")),
        (f'machines = "x86_64"\n{ROW}', (": machines", "list")),
        (f"session_entries = [1]\n{ROW}", (": session_entries", "table")),
        (f"session_entries = {{ a = 1 }}\n{ROW}", (": session_entries.a", "text")),
        (f'name = ""\n{ROW}', (": name", "text")),
        (f'remove = ["Conv"]\n{ROW}', (": remove", "has no 'Conv' to remove")),
        (f'base = "cpu"\nremove = ["Convv"]\n{ROW}', (": remove", "Did you mean 'Conv'")),
        ("kernels = 3", (": kernels", "[[kernels]]")),
        ("kernels = [3]", ("kernels[0]", "[[kernels]]")),
        ('[[kernels]]\nop_type = "Conv"', ("kernels[0]", "'placement' is missing")),
        (f"{ROW}{ROW.replace('compute', 'compote')}", ("kernels[1].placement", "'compute'")),
        (f"{ROW}rank = [4]", ("kernels[0]", "unknown key 'rank'")),
        (f'{ROW}data_ranks = ["4"]', ("kernels[0].data_ranks", "whole number")),
        (f'{ROW}conditions = ["last_axis"]', ("kernels[0].conditions", "'last-axis'")),
        (f'{ROW}attributes = {{ mode = "x" }}', ("kernels[0].attributes.mode", "list")),
        (f"{ROW}attributes = {{ mode = [1.5] }}", ("kernels[0].attributes.mode", "1.5")),
        (f"{ROW}attributes = 1", ("kernels[0].attributes", "table")),
    ],
)
def test_mistakes_name_the_file_the_key_and_the_nearest(refused, text, parts):
    refused(text, *parts)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(RecipeError, match="cannot read the target profile"):
        target_named(str(tmp_path / "none.toml"))


def test_an_endless_file_is_not_read(refused):
    refused("#" * (toml._LARGEST + 2), "too large")


def test_operators_without_a_rule_are_refused(read):
    target = read(ROW.replace("Conv", "Convv"))
    model = graphs.build(
        "n (float[1,3,4,4] x) => (float[1,3,4,4] z) { z = Conv(x, w) }",
        w=graphs.numbers(1, 3, 3, 1, 1),
    )
    with pytest.raises(RecipeError, match="Did you mean 'Conv'"):
        annotate(model, target, Recipe())


def test_a_dynamic_form_needs_onnxruntimes_operators(read):
    row = '[[kernels]]\nop_type = "LSTM"\nplacement = "compute"\nform = "dynamic"\n'
    model = graphs.build(
        "n (float[2,1,3] x) => (float[2,1,1,2] y) { [l] y = LSTM<hidden_size=2>(x, w, r) }",
        w=graphs.numbers(1, 1, 8, 3),
        r=graphs.numbers(2, 1, 8, 2),
    )
    found = annotate(model, read(row), Recipe()).decisions["l"]
    assert "onnxruntime's own" in found.reason
    assert (
        annotate(model, read(f"contrib_operators = true\n{row}"), Recipe())
        .decisions["l"]
        .form.value
        == "dynamic"
    )
