"""Noise behind values: the rounding of another processor."""

import models
import numpy as np
import onnx_ir as ir
import pytest

from edgeq.graph import shapes
from edgeq.graph.noise import add_noise
from edgeq.runtime.session import Session


def typed(proto):
    """A graph whose values have types."""
    model = ir.from_proto(proto)
    assert shapes.infer(model)
    return model


def outputs(model, sample):
    return Session(model).run(sample)


def test_every_element_is_off_by_a_part_of_itself_in_either_direction():
    model = typed(models.elementwise())
    sample = {"x": np.linspace(1, 50, 16, dtype=np.float32)[None]}
    before = outputs(model, sample)["y"]
    (relu,) = [node for node in model.graph if node.name == "relu"]
    assert add_noise(model, relu.outputs, 1e-3) == 1
    off = outputs(model, sample)["y"] / before - 1
    assert 1e-4 < np.abs(off).max() < 1.001e-3
    assert off.min() < 0 < off.max()


def test_it_is_the_same_in_every_run():
    model = typed(models.mlp())
    add_noise(model, [v for node in model.graph for v in node.outputs], 1e-3)
    first, second = (outputs(model, models.rows(1)[0])["y"] for _ in range(2))
    assert np.array_equal(first, second)


def test_outputs_and_integers_stay_as_they_are():
    text = """
    net (float[4] x) => (int64[1] n, float[4] y) {{
        [size] n = Shape (x)
        [neg] y = Neg (x)
    }}
    """
    model = typed(models.build(text))
    assert add_noise(model, [v for node in model.graph for v in node.outputs], 1e-3) == 0


@pytest.mark.parametrize("sample", models.branch_rows(2))
def test_readers_in_bodies_read_the_noise(sample):
    text = """
    net (float[N, 16] x, bool wide) => (float[N, 16] y) {{
        [double] z = Add (x, x)
        [choose] y = If (wide) <
            then_branch = t () => (float[N, 16] a) {{ [neg] a = Neg (z) }},
            else_branch = e () => (float[N, 16] b) {{ [abs] b = Abs (z) }}
        >
    }}
    """
    model = typed(models.build(text))
    before = outputs(model, sample)["y"]
    (double,) = [node for node in model.graph if node.name == "double"]
    add_noise(model, double.outputs, 1e-3)
    assert not np.array_equal(outputs(model, sample)["y"], before)
