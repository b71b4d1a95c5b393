"""What outputs are held to, by the operators on the way."""

import models
import numpy as np
import onnx_ir as ir
import pytest

from edgeq.device.tolerance import MARGIN, Way, tolerance, usual, ways

SCALE, ZERO = np.array(0.5, np.float32), np.array(3, np.uint8)


def way_of(text, **constants):
    model = ir.from_proto(models.build(text, 17, **constants))
    return next(iter(ways(model).values()))


def quantized(body, **constants):
    """A graph of one 8-bit input and one float output with ``body`` between q and r."""
    text = f"""
    net (uint8[1, 1, 4, 4] q) => (float[N] y) {{{{
        {body}
        [dq] y = DequantizeLinear (r, scale, zero)
    }}}}
    """
    return way_of(text, scale=SCALE, zero=ZERO, **constants)


def test_integer_arithmetic_and_movement_are_held_to_every_bit():
    way = quantized("[pool] p = MaxPool <kernel_shape = [2, 2]> (q)\n [t] r = Transpose (p)")
    assert tolerance(way, "float32", 9.0, 1.0).kind == "exact"
    assert tolerance(way, "float32", 9.0, 1.0).absolute == 0.0


def test_a_linear_resize_of_bytes_may_be_one_step_off():
    way = quantized('[r] r = Resize <mode = "linear"> (q, , scales)', scales=np.ones(4, np.float32))
    held = tolerance(way, "float32", 9.0, 0.0)
    assert (held.kind, held.absolute, held.because) == ("step", 0.5, ("Resize",))


def test_a_nearest_resize_only_moves():
    body = '[r] r = Resize <mode = "nearest"> (q, , scales)'
    way = quantized(body, scales=np.ones(4, np.float32))
    assert not way.inexact


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul", "QLinearSigmoid"])
def test_integer_kernels_that_round_more_than_once_may_be_one_step_off(op):
    port = ir.Value(name="q", shape=ir.Shape([4]), type=ir.TensorType(ir.DataType.UINT8))
    node = ir.Node("com.microsoft", op, [port], name="kernel")
    node.outputs[0].name = "r"
    graph = ir.Graph([port], node.outputs, nodes=[node], opset_imports={"": 17}, name="g")
    held = tolerance(ways(ir.Model(graph, ir_version=8))["r"], "uint8", 255.0, 0.0)
    assert (held.kind, held.absolute, held.because) == ("step", 1.0, (op,))


def test_arithmetic_behind_a_step_makes_it_travel():
    text = """
    net (uint8[1, 1, 4, 4] q) => (float[N] y) {{
        [r] r = Resize <mode = "linear"> (q, , scales)
        [dq] d = DequantizeLinear (r, scale, zero)
        [sum] s = Add (d, d)
        [q2] q2 = QuantizeLinear (s, scale, zero)
        [dq2] y = DequantizeLinear (q2, scale, zero)
    }}
    """
    way = way_of(text, scale=SCALE, zero=ZERO, scales=np.ones(4, np.float32))
    assert way.flips
    assert tolerance(way, "float32", 1.0, 0.25).absolute == MARGIN * 0.25


def test_float_sums_are_held_to_a_part_of_the_largest_value():
    way = way_of("net (float[2, 4] x) => (float[2, 3] y) {{ [m] y = MatMul (x, w) }}",
                 w=models.numbers(0, 4, 3))  # fmt: skip
    held = tolerance(way, "float32", 20.0, 5.0)
    assert held.kind == "float"
    assert held.absolute == pytest.approx(20.0 * 1e-4)


def test_float_sums_before_a_quantizer_are_held_to_what_other_roundings_cost():
    text = """
    net (float[2, 4] x) => (float[2, 3] y) {{
        [m] a = MatMul (x, w)
        [q] q = QuantizeLinear (a, scale, zero)
        [dq] y = DequantizeLinear (q, scale, zero)
    }}
    """
    way = way_of(text, w=models.numbers(0, 4, 3), scale=SCALE, zero=ZERO)
    held = tolerance(way, "float32", 20.0, 0.25)
    assert (held.kind, held.absolute) == ("flips", MARGIN * 0.25)


def test_single_float_operations_are_the_same_everywhere():
    way = way_of("net (float[4] x) => (float[4] y) {{ [a] a = Add (x, x) [b] y = Mul (a, x) }}")
    assert not way.inexact


def test_the_shape_of_an_uncertain_value_is_certain():
    text = """
    net (float[2, 4] x) => (int64[2] y) {{
        [m] a = MatMul (x, w)
        [s] y = Shape (a)
    }}
    """
    assert not way_of(text, w=models.numbers(0, 4, 3)).inexact


def test_a_body_counts_with_what_it_reads_from_outside():
    model = ir.from_proto(models.branches())
    assert ways(model)["y"].inexact == {"MatMul"}


def test_classes_that_near_ties_decide_may_differ_now_and_then():
    held = tolerance(Way(frozenset({"MatMul"}), 1e-4, flips=True), "int64", 9.0, 1.0)
    assert (held.absolute, held.outliers) == (0.0, 0.01)


def test_operators_that_nobody_knows_are_float_arithmetic():
    way = way_of("net (float[4] x) => (float[4] y) {{ [e] y = Erf (x) }}")
    assert way.inexact == {"Erf"}


def test_few_elements_of_large_outputs_may_tip_over():
    way = Way(frozenset({"MatMul"}), 1e-4, flips=True)
    large, small = (tolerance(way, "float32", 1.0, 0.1, n) for n in (100_000, 10))
    assert (large.absolute, large.outliers) == (0.2, 0.01)
    assert (small.absolute, small.outliers) == (0.2, 0.0)


def test_what_tips_over_does_not_widen_the_tolerance_of_the_others():
    differences = np.full(10_000, 0.01)
    differences[:5] = 0.9
    assert usual(differences) == pytest.approx(0.01)
    assert usual(differences[:500]) == 0.9
    assert usual(np.array([np.nan, np.inf])) == 0.0
