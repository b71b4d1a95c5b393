"""The first node that differs on a device."""

import sys
import textwrap
from contextlib import contextmanager

import models
import onnx_ir as ir
import pytest

import edgeq
from edgeq.api import on_device
from edgeq.device.address import parse
from edgeq.device.devices import Device
from edgeq.device.differing import first_difference, visible_values
from edgeq.device.result import OutputResult, Worst
from edgeq.device.transport import LocalTransport
from edgeq.errors import RecipeError

CHAIN = """
net (float[4] x) => (float[4] y) {{
    [n1] a = Neg (x)
    [n2] b = Abs (a)
    [n3] c = Neg (b)
    [n4] d = Abs (c)
    [n5] e = Neg (d)
    [n6] y = Abs (e)
}}
"""

BRANCHES = """
net (float[4] x) => (float[4] y) {{
    [n1] a = Neg (x)
    [n2] b = Abs (x)
    [n3] c = Neg (a)
    [n4] d = Neg (b)
    [n5] y = Add (c, d)
}}
"""


def device(model, guilty):
    """A probe of a device that computes the values behind ``guilty`` nodes wrongly."""
    wrong, asked = set(), []
    for node in model.graph:
        reads = {value.name for value in node.inputs if value is not None}
        if node.name in guilty or reads & wrong:
            wrong |= {value.name for value in node.outputs}

    def probe(names):
        asked.append(list(names))
        return {
            name: OutputResult(
                name, name not in wrong, "exact", 0.0, Worst(1.0, 0, (0,), 0.0, 1.0), 1, 4, None
            )
            for name in names
        }

    return probe, asked


def graph(text, **constants):
    return ir.from_proto(models.build(text, 17, **constants))


@pytest.mark.parametrize("guilty", ["n1", "n2", "n3", "n4", "n5", "n6"])
def test_every_node_of_a_chain_is_found(guilty):
    model = graph(CHAIN)
    probe, asked = device(model, {guilty})
    found = first_difference(model, probe)
    assert [name for name, _ in found.nodes] == [guilty]
    assert found.runs == len(asked) <= 5
    assert found.worst.got == 1.0


@pytest.mark.parametrize("guilty", ["n1", "n2", "n3", "n4", "n5"])
def test_branches_are_followed_up_to_the_node(guilty):
    model = graph(BRANCHES)
    found = first_difference(model, device(model, {guilty})[0])
    assert found.nodes[0][0] == guilty
    assert guilty in str(found)


def test_of_several_one_is_found_whose_inputs_are_equal():
    model = graph(BRANCHES)
    found = first_difference(model, device(model, {"n1", "n4"})[0])
    assert found.nodes[0][0] in ("n1", "n4")


def test_nothing_is_found_where_looking_makes_it_right():
    model = graph(CHAIN)
    assert first_difference(model, device(model, set())[0]) is None


def test_integer_kernels_stay_whole(int8_net):
    model = ir.load(int8_net)
    seen = set(visible_values(model))
    producers = {value.name: node for node in model.graph for value in node.outputs}
    for name in seen - {value.name for value in model.graph.outputs}:
        assert producers[name].op_type != "DequantizeLinear"
        readers = {node.op_type for node in model.graph for v in node.inputs
                   if v is not None and v.name == name}  # fmt: skip
        assert readers != {"QuantizeLinear"}
    assert any(producers[name].op_type == "QuantizeLinear" for name in seen)


LIAR = """
    import json, pathlib, sys
    import numpy as np, onnx, onnxruntime as ort
    from onnx import numpy_helper
    pack, results = map(pathlib.Path, sys.argv[2:4])
    manifest = json.loads((pack / "manifest.json").read_text())
    model = onnx.load(pack / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, "w1"))
    session = ort.InferenceSession(model.SerializeToString())
    names = [port["name"] for port in manifest["outputs"]]
    for number, sample in enumerate(manifest["samples"]):
        feed = {p["name"]: np.load(pack / f) for p, f in zip(manifest["inputs"], sample["inputs"])}
        (results / f"{number:03}").mkdir()
        for place, array in enumerate(session.run(names, feed)):
            np.save(results / f"{number:03}" / f"{place}.npy", array)
    told = {"runtime": {"name": "liar", "version": "1"}, "seconds": [0.1]}
    (results / "result.json").write_text(json.dumps(told))
"""


@pytest.fixture
def liar(tmp_path, monkeypatch):
    """``wasm://node`` is a device that has other weights in the node ``inner``."""
    script = tmp_path / "liar.py"
    script.write_text(textwrap.dedent(LIAR))

    @contextmanager
    def ready(address, **_):
        command = (sys.executable, str(script), "unused")
        yield Device(address, LocalTransport(address.text), command, program=True)

    monkeypatch.setattr(on_device, "ready", ready)
    return str(parse("wasm://node").text)


def test_validating_on_a_device_that_differs_fails_and_names_the_node(liar):
    model = models.conv_net()
    found = edgeq.validate(model, model, models.images(2), device=liar, explain_difference=True)
    assert not found.passed
    assert found.device.difference.nodes[0] == ("inner", "Conv")
    assert any("'inner'" in failure for failure in found.report.verdict.failures)
    document = found.to_dict()
    assert document["verdict"] == "failed"
    assert document["device"]["first_difference"]["nodes"][0]["name"] == "inner"


def test_validating_on_a_device_that_agrees_passes():
    model = models.conv_net()
    found = edgeq.validate(model, model, models.images(2), device="local")
    assert found.passed
    assert found.device.result.passed
    assert any(note.startswith("Ran on local with onnxruntime") for note in found.report.notes)


def test_a_difference_needs_a_device():
    with pytest.raises(RecipeError, match="that of a device"):
        edgeq.validate(models.mlp(), models.mlp(), models.rows(1), explain_difference=True)
