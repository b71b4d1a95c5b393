"""What one scale for all inputs changes is the same, however the model is gone through."""

import graphs
import numpy as np
import pytest

from edgeq.calibration import stepwise
from edgeq.runtime.session import Session, tensor_bytes
from edgeq.weight_only.one_scale import products, rounding_errors

LAYERS = 8
WIDTH = 64


def chain():
    """Products one behind the other, each in a residual branch."""
    steps = [
        f"[p{i}] h{i} = MatMul(x{i}, w{i}) r{i} = Relu(h{i}) x{i + 1} = Add(x{i}, r{i})"
        for i in range(LAYERS)
    ]
    text = f"n (float[6,{WIDTH}] x0) => (float[6,{WIDTH}] x{LAYERS}) {{ {' '.join(steps)} }}"
    weights = {f"w{i}": graphs.numbers(i, WIDTH, WIDTH, scale=0.1) for i in range(LAYERS)}
    return graphs.build(text, **weights), weights


def dynamic(rows):
    """DynamicQuantizeLinear and back, as the ONNX standard writes it."""
    low, high = min(rows.min(), 0), max(rows.max(), 0)
    scale = (high - low) / 255
    zero = np.clip(np.rint(-low / scale), 0, 255)
    return (np.clip(np.rint(rows / scale) + zero, 0, 255) - zero) * scale


def by_hand(rows, weight):
    """Energies of error and output of a product whose columns have a symmetric scale each."""
    step = np.abs(weight).max(axis=0) / 127
    error = dynamic(rows) @ (np.rint(weight / step) * step) - rows @ weight
    return np.square(error).sum(), np.square(rows @ weight).sum()


def test_every_product_has_the_error_that_numpy_computes():
    model, weights = chain()
    samples = graphs.feeds(model, 3)
    found = rounding_errors(model, products(model), samples, 1)
    totals = np.zeros((LAYERS, 2))
    for sample in samples:
        rows = sample["x0"]
        for i in range(LAYERS):
            totals[i] += by_hand(rows, weights[f"w{i}"])
            rows = rows + np.maximum(rows @ weights[f"w{i}"], 0)
    for i, (wrong, signal) in enumerate(totals):
        assert found[f"p{i}"] == pytest.approx(wrong / signal, rel=0.02)


def test_no_session_holds_more_than_what_leads_to_the_next_input(monkeypatch):
    opened = []

    class Watched(Session):
        def __init__(self, model, *rest, **options):
            opened.append((tensor_bytes(model), len(model.graph.outputs)))
            super().__init__(model, *rest, **options)

    monkeypatch.setattr(stepwise, "Session", Watched)
    model, _ = chain()
    rounding_errors(model, products(model), graphs.feeds(model, 2), 1)
    assert len(opened) == LAYERS - 1
    assert max(size for size, _ in opened) == WIDTH * WIDTH * 4
    assert max(outputs for _, outputs in opened) == 1


def test_a_product_in_a_branch_is_measured_too():
    model = graphs.build(
        "n (float[6,64] x, bool c) => (float[6,64] z) {"
        " [a] h = MatMul(x, w) [i] z = If(c) <"
        "then_branch = t () => (float[6,64] s) { r = Relu(h) [inside] s = MatMul(r, v) },"
        " else_branch = e () => (float[6,64] o) { o = Identity(h) }> }",
        w=graphs.numbers(0, 64, 64),
        v=graphs.numbers(1, 64, 64),
    )
    samples = graphs.feeds(model, 2, c=np.array(True))
    found = rounding_errors(model, products(model), samples, 1)
    assert found.keys() == {"a", "inside"}
    assert 0 < found["inside"] < 1e-2
    never = rounding_errors(model, products(model), graphs.feeds(model, 2, c=np.array(False)), 1)
    assert never.keys() == {"a"}
