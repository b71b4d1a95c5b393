"""Emulated processors and the web runtime. Slow: they run when EDGEQ_TEST_DEVICES is set.

``edgeq device setup qemu://arm64`` and ``edgeq device setup wasm://node`` have to have been run.
"""

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


@pytest.mark.parametrize("device", ["qemu://arm64", "qemu://x86-avx2", "wasm://node"])
def test_a_good_model_passes(net_pack, device):
    result = edgeq.run(device, net_pack, options=QUICK)
    assert result.passed
    assert result.emulated == device.startswith("qemu")


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
