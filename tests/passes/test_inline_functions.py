import onnx_ir as ir
from pass_graphs import apply, ops

from edgeq.passes.inline_functions import inline_functions

TEXT = """
<ir_version: 8, opset_import: ["": 17, "own": 1]>
g (float[2] x) => (float[2] y) { a = own.twice(x) y = own.twice(a) }
<domain: "own", opset_import: ["": VERSION]>
twice (x) => (y) { b = Add(x, x) y = Identity(b) }
"""


def test_calls_become_their_bodies():
    found, outcome = apply(inline_functions, ir.from_onnx_text(TEXT.replace("VERSION", "17")))
    assert ops(found) == ["Add", "Identity"] * 2
    assert outcome.changes == 2
    assert not found.functions


def test_another_opset_is_declined():
    found, outcome = apply(inline_functions, ir.from_onnx_text(TEXT.replace("VERSION", "16")))
    assert ops(found) == ["twice", "twice"]
    assert outcome.declined == ("function twice uses ai.onnx 16, not 17",)
