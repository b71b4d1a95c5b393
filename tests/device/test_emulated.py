"""Emulated processors and the web runtime. Slow: they run when EDGEQ_TEST_DEVICES is set.

``edgeq device setup qemu://arm64`` and ``edgeq device setup wasm://node`` have to have been run.
"""

import dataclasses
import os

import models
import numpy as np
import pytest
from editing import QUICK, damage_weights

import edgeq

pytestmark = pytest.mark.skipif(
    not os.environ.get("EDGEQ_TEST_DEVICES"), reason="runs when EDGEQ_TEST_DEVICES is set"
)

SATURATING = """
net (float[N, 16, 6, 6] x) => (float[N, 8, 6, 6] y) {{
    [q] xq = QuantizeLinear (x, scale, zero)
    [dq] xd = DequantizeLinear (xq, scale, zero)
    [weights] wd = DequantizeLinear (w, weight_scale, weight_zero)
    [layer] a = Conv (xd, wd)
    [q2] yq = QuantizeLinear (a, out_scale, zero)
    [dq2] y = DequantizeLinear (yq, out_scale, zero)
}}
"""


def packed(limit, folder):
    """A pack of a convolution with weights up to ``limit``, and inputs at the upper end."""
    rng = np.random.default_rng(0)
    model = models.build(
        SATURATING,
        scale=np.array(1 / 255, np.float32),
        zero=np.array(0, np.uint8),
        w=rng.integers(limit - 9, limit + 1, (8, 16, 1, 1)).astype(np.int8),
        weight_scale=np.array(1 / limit, np.float32),
        weight_zero=np.array(0, np.int8),
        out_scale=np.array(16 / 255, np.float32),
    )
    samples = [{"x": (1 - 0.1 * rng.random((1, 16, 6, 6))).astype(np.float32)} for _ in range(2)]
    edgeq.pack(model, samples, folder / "net.edgeq.zip")
    return folder / "net.edgeq.zip"


SUM = """
net (float[65536] x, float[65536] y) => (float[65536] z) {{
    [quantize_x] a = QuantizeLinear (x, x_scale, x_zero)
    [read_x] b = DequantizeLinear (a, x_scale, x_zero)
    [quantize_y] c = QuantizeLinear (y, y_scale, y_zero)
    [read_y] d = DequantizeLinear (c, y_scale, y_zero)
    [sum] e = Add (b, d)
    [quantize] f = QuantizeLinear (e, z_scale, z_zero)
    [write] z = DequantizeLinear (f, z_scale, z_zero)
}}
"""


@pytest.mark.parametrize("device", ["qemu://arm64?cpu=cortex-a53", "wasm://node"])
def test_sums_of_bytes_are_a_step_apart_near_ties(tmp_path, device):
    scales = {"x": (0.11941861, 145), "y": (0.24113248, 134), "z": (0.27581695, 138)}
    numbers = {f"{n}_scale": np.array(scale, np.float32) for n, (scale, _) in scales.items()}
    numbers |= {f"{n}_zero": np.array(zero, np.uint8) for n, (_, zero) in scales.items()}
    every = np.arange(256, dtype=np.float32)
    x, y = ((every - numbers[f"{n}_zero"]) * numbers[f"{n}_scale"] for n in "xy")
    edgeq.pack(
        models.build(SUM, **numbers),
        [{"x": np.repeat(x, 256), "y": np.tile(y, 256)}],
        tmp_path / "sum.edgeq.zip",
    )
    result = edgeq.run(device, tmp_path / "sum.edgeq.zip", options=QUICK)
    (output,) = result.outputs
    assert result.passed
    assert output.kind == "step"
    assert 0 < output.unequal < 100
    assert output.worst.difference == pytest.approx(0.27581695)


@pytest.mark.parametrize("device", ["qemu://arm64", "qemu://x86-avx2", "wasm://node"])
def test_a_good_model_passes(net_pack, device):
    result = edgeq.run(device, net_pack, options=QUICK)
    assert result.passed
    assert result.emulated == device.startswith("qemu")


def test_webassembly_tells_its_kernels_and_their_times(net_pack):
    options = dataclasses.replace(QUICK, profile=True)
    there, here = (edgeq.run(each, net_pack, options=options) for each in ("wasm://node", "local"))
    assert there.cpu["machine"] == "wasm32"
    assert {kernel.op_type for kernel in there.kernels} >= {"QLinearConv", "QuantizeLinear"}
    assert {kernel.op_type for kernel in there.kernels} <= {k.op_type for k in here.kernels} | {
        "Transpose"
    }
    assert sum(node.microseconds for node in there.nodes) > 0


def test_a_wrong_model_fails(rewritten):
    assert not edgeq.run("wasm://node", rewritten(damage_weights), options=QUICK).passed


def test_the_processor_is_the_one_that_was_asked_for(net_pack):
    old = edgeq.run("qemu://arm64?cpu=cortex-a53", net_pack, options=QUICK)
    new = edgeq.run("qemu://arm64?cpu=cortex-a710", net_pack, options=QUICK)
    assert old.passed
    assert new.passed
    assert "ASIMDDP" not in old.cpu["features"]
    assert {"ASIMDDP", "I8MM"} <= set(new.cpu["features"])


def test_sums_that_saturate_are_caught(tmp_path):
    pack = packed(127, tmp_path)
    here, there = (edgeq.run(each, pack, options=QUICK) for each in ("local", "qemu://x86-avx2"))
    assert here.passed
    assert here.outputs[0].kind == "exact"
    assert not there.passed
    assert there.outputs[0].worst.got < there.outputs[0].worst.expected


def test_weights_of_seven_bits_do_not_saturate(tmp_path):
    assert edgeq.run("qemu://x86-avx2", packed(63, tmp_path), options=QUICK).passed
