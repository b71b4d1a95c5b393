"""The table of the CPU targets against the installed onnxruntime: which kernels really run."""

from dataclasses import replace

import graphs
import pytest
from op_cases import CASES

from edgeq.quantization.plan import NodeForm
from edgeq.recipe import Recipe
from edgeq.runtime.kernels import INT8_COMPUTE
from edgeq.targets import TARGETS
from edgeq.targets.cpu import CPU
from edgeq.targets.profile import Placement
from edgeq.types import QuantType

RUN = [case for case in CASES if case.reason is None]


@pytest.fixture(scope="module")
def executed():
    """Operators that run and conversions left over, by case."""
    found = {}
    for case in RUN:
        model = case.model()
        recipe = Recipe(include=("op",)) if case.costly else Recipe()
        found[case] = graphs.quantize(model, case.samples(model, 4), recipe).executed()
    return found


def test_every_row_is_tried():
    assert {row.op_type for row in CPU.kernels} == {case.op for case in RUN}


@pytest.mark.parametrize("case", RUN, ids=str)
def test_the_integer_kernel_runs(case, executed):
    operators, _ = executed[case]
    row = CPU.kernel(case.op)
    if row.placement in (Placement.MOVE, Placement.ABSORBED):
        assert row.placement is Placement.MOVE or case.op not in operators
        assert case.kernel in {"", *operators}
    else:
        assert case.kernel in operators
        assert case.op not in operators


@pytest.mark.parametrize("case", RUN, ids=str)
def test_no_conversion_is_left_between_integer_nodes(case, executed):
    _, left_over = executed[case]
    assert left_over == case.left_over


VARIANTS = {
    "uint8 weights": {"weight": QuantType.UINT8},
    "one scale per tensor": {"per_channel": False},
    "7-bit weights": {"reduce_range": True},
    "uint8 weights, one scale": {"weight": QuantType.UINT8, "per_channel": False},
}
LAYERS = [case for case in RUN if case.kernel in INT8_COMPUTE]


def test_the_cpu_targets_share_their_table():
    """What is shown for the one holds for all: they run the same program."""
    native = [target for target in TARGETS if target.executable_here]
    assert len(native) == 6
    assert all(target.kernels is CPU.kernels for target in native)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_layers_run_in_integers_with_every_type_and_granularity_of_weights(case, variant):
    model = case.model()
    target = replace(CPU, **VARIANTS[variant])
    recipe = Recipe(include=("op",)) if case.costly else Recipe()
    found = graphs.quantize(model, case.samples(model, 4), recipe, target)
    assert found.form("op") in (NodeForm.STATIC, NodeForm.DYNAMIC)
    operators, left_over = found.executed()
    assert case.kernel in operators
    assert case.op not in operators
    assert left_over == case.left_over


@pytest.mark.parametrize("case", [case for case in LAYERS if not case.costly], ids=str)
def test_layers_of_other_ranks_stay_float(case):
    """What the table says of ranks decides: without this rank the layer has a reason."""
    row = CPU.kernel(case.op)
    model = case.model()
    weight = next(node for node in model.graph if node.name == "op").inputs[1]
    others = replace(row, weight_ranks=row.weight_ranks - {len(weight.shape)} | {7})
    kernels = tuple(others if each is row else each for each in CPU.kernels)
    found = graphs.quantize(model, case.samples(model, 2), target=replace(CPU, kernels=kernels))
    assert found.form("op") is NodeForm.FLOAT
    assert "takes other ranks" in found.reason("op")
