import numpy as np
import pytest
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.fold_pad import fold_pad

SPATIAL = [0, 0, 1, 2, 0, 0, 2, 1]


def graph(layer, amounts=SPATIAL, first="Abs", value=0.0, out="1,2,?,?"):
    text = f"""
g (float[1,2,6,6] x, float[2,2,3,3] w, int64[8] p, float v) => (float[{out}] y) {{
  a = {first}(x)
  b = Pad(a, p, v)
  y = {layer}
}}
"""
    return model(text, w=numbers(2, 2, 3, 3), p=np.array(amounts), v=np.float32(value))


FOLDED = [
    "Conv(b, w)", "Conv<pads=[1,1,1,1]>(b, w)", 'Conv<auto_pad="VALID", strides=[2,2]>(b, w)',
    "AveragePool<kernel_shape=[4,4]>(b)",
    "AveragePool<kernel_shape=[5,5], pads=[1,1,1,1], count_include_pad=1>(b)",
    "MaxPool<kernel_shape=[4,4]>(b)",
]  # fmt: skip
DECLINED = {
    'Conv<auto_pad="SAME_UPPER">(b, w)': "own padding",
    "AveragePool<kernel_shape=[5,5], pads=[1,1,1,1]>(b)": "left out of the average",
    "AveragePool<kernel_shape=[4,4], ceil_mode=1>(b)": "rounds",
    "MaxPool<kernel_shape=[2,2]>(b)": "less than its kernel",
}


@pytest.mark.parametrize("layer", FOLDED)
def test_folded(layer):
    found, outcome = apply(fold_pad, graph(layer))
    assert "Pad" not in ops(found)
    assert outcome.changes == 1


@pytest.mark.parametrize("layer", DECLINED)
def test_declined(layer):
    _, outcome = apply(fold_pad, graph(layer))
    assert outcome.changes == 0
    assert DECLINED[layer] in outcome.declined[0]


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ({"first": "Neg", "layer": "MaxPool<kernel_shape=[4,4]>(b)"}, "may be negative"),
        ({"value": 1.0, "layer": "Conv(b, w)"}, "zero"),
        ({"amounts": [1, 0, 0, 0, 0, 0, 0, 0], "layer": "Conv(b, w)", "out": "2,2,?,?"}, "batch"),
        ({"amounts": [0, 0, -1, 0, 0, 0, 0, 0], "layer": "Conv(b, w)"}, "crops"),
    ],
)
def test_other_pads_are_declined(kind, why):
    _, outcome = apply(fold_pad, graph(**kind))
    assert outcome.changes == 0
    assert why in outcome.declined[0]
