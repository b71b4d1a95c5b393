"""Holding a candidate against its reference."""

import models
import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgeq
from edgeq.errors import ModelError, RecipeError


@pytest.fixture(scope="module")
def pair():
    model = models.conv_net()
    return model, edgeq.quantize(model, models.images(16), validate=False).model


def fed():
    """A source that can be read once, with labels in its samples."""
    for number, sample in enumerate(models.images(6)):
        yield {**sample, "label_digit": np.array(number % 2)}


def first_is_largest(outputs, labels):
    rows = np.stack([next(iter(output.values())).ravel() for output in outputs])
    return float(np.mean(rows.argmax(1) == labels["digit"]))


def test_one_reading_of_the_data_serves_closeness_and_metric(pair, tmp_path):
    metric = tmp_path / "metric.py"
    metric.write_text(
        "def score(outputs, labels):\n"
        "    assert len(outputs) == len(labels['digit']) == 6\n"
        "    return float(sum(next(iter(o.values())).sum() for o in outputs))\n"
    )
    found = edgeq.validate(*pair, fed(), metric=f"{metric}:score")
    assert found.report.samples == 6
    assert found.report.metric is not None
    assert found.report.outputs


def test_a_candidate_of_another_interface_is_refused(pair):
    other = onnx.ModelProto()
    other.CopyFrom(pair[0])
    other.graph.output[0].name = "renamed"
    for node in other.graph.node:
        for index, name in enumerate(node.output):
            if name == pair[0].graph.output[0].name:
                node.output[index] = "renamed"
    with pytest.raises(ModelError, match="renamed"):
        edgeq.validate(pair[0], other, models.images(4))


def test_a_candidate_that_writes_more_numbers_than_it_should_is_refused():
    text = "n (float[1,4] x) => (float[1,{}] z) {{ z = Concat<axis=1>({}) }}"
    reference = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["": 17]> {text.format(4, "x")}')
    longer = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["": 17]> {text.format(8, "x, x")}')
    with pytest.raises(ModelError, match="output 'z' has other sizes"):
        edgeq.validate(reference, longer, [{"x": np.ones((1, 4), np.float32)}])


def test_a_largest_drop_without_a_metric_is_refused(pair):
    with pytest.raises(RecipeError, match="metric"):
        edgeq.validate(*pair, models.images(4), thresholds=edgeq.Thresholds(max_drop=0.1))


def test_float_layers_of_a_strange_candidate_are_named_with_what_runs(pair):
    report = edgeq.validate(pair[0], pair[0], models.images(4)).report
    assert report.coverage.ratio == 0.0
    assert all("onnxruntime runs it" in node.reason for node in report.coverage.float_nodes)
    assert any("run in integers" in warning for warning in report.warnings)


def test_what_a_default_run_made_passes(pair):
    assert edgeq.validate(*pair, models.images(8)).passed


def test_layers_are_compared_and_explained_when_asked_for(pair):
    report = edgeq.validate(*pair, models.images(6), explain=True).report
    names = [layer.name for layer in report.layers]
    assert {"stem", "inner", "head"} <= set(names)
    assert names == sorted(names, key=["stem", "inner", "residual", "pool", "head"].index)
    assert all(layer.sqnr_db > 20 for layer in report.layers)
    assert any(note.startswith("Layers were matched by the names") for note in report.notes)
    document = report.to_dict()
    assert document["parting"] is None
    assert all("alone_db" in row for row in document["layers"])
    assert {row["name"] for row in document["values"]} >= {"image", "trunk"}


def test_layers_are_not_compared_unless_asked_for(pair):
    report = edgeq.validate(*pair, models.images(4)).report
    assert (report.layers, report.values, report.parting) == ((), (), None)


def test_the_layer_where_a_damaged_candidate_parts_is_named(pair):
    broken = ir.to_proto(pair[1])
    scale = next(t for t in broken.graph.initializer if t.name == "trunk_scale")
    scale.CopyFrom(onnx.numpy_helper.from_array(np.array(1e-4, np.float32), scale.name))
    report = edgeq.validate(pair[0], broken, models.images(6), explain=True).report
    row = report.to_dict()["parting"]
    assert row["name"] == "stem"
    assert "beyond its range" in row["cause"]
    assert len(row["edges"]) == len(row["reference"]) + 1 == len(row["candidate"]) + 1
    assert sum(row["reference"]) == sum(row["candidate"]) > 0


def test_a_candidate_whose_names_are_all_new_says_that_nothing_was_compared(pair):
    strange = onnx.ModelProto()
    strange.CopyFrom(pair[0])
    inner = {output for node in strange.graph.node for output in node.output}
    inner -= {output.name for output in strange.graph.output}
    for node in strange.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"strange_{n}" if n in inner else n for n in names]
    report = edgeq.validate(pair[0], strange, models.images(4), explain=True).report
    assert any("Layers were" in note for note in report.notes)
    assert report.parting is None


def test_the_runtime_that_the_candidate_needs_is_told():
    older, newer = models.mlp(), models.mlp(opset=22)
    assert edgeq.validate(older, newer, models.rows(4)).report.needs.since == (1, 21)
    assert edgeq.validate(newer, older, models.rows(4)).report.needs is None
