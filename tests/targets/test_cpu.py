"""The table of the CPU target against the installed onnxruntime: which kernels really run."""

import graphs
import pytest
from op_cases import CASES

from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU
from edgeq.targets.profile import Placement

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
