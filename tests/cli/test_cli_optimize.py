"""``edgeq optimize`` writes a model with fewer nodes and the same results."""

import json

import models
import numpy as np
import onnx
import pytest

from edgeq.graph import loader
from edgeq.runtime.session import Session


def outputs(path, sample):
    return Session(loader.load(path).model).run(sample)


def test_the_result_computes_the_same_with_less(run, net):
    result = run("optimize", net)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("good: 9 -> ")
    assert "fold_affine_after" in result.stdout
    ops = [node.op_type for node in onnx.load(net.with_name("net.opt.onnx")).graph.node]
    assert "BatchNormalization" not in ops
    sample = next(iter(models.images(1)))
    before, after = outputs(net, sample), outputs(net.with_name("net.opt.onnx"), sample)
    np.testing.assert_allclose(after["scores"], before["scores"], rtol=1e-4, atol=1e-5)


def test_a_page_is_written(run, net, work):
    result = run("optimize", net, "-q", "--report", "r.html", "-o", "o.onnx")
    assert result.exit_code == 0, result.stderr
    assert "The optimized model gives the same outputs" in (work / "r.html").read_text()


def test_the_report_lists_what_every_pass_did(run, net, calib):
    result = run("optimize", net, "--calib", calib, "--report", "r.json", "--json", "-o", "o.onnx")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document == json.loads(net.with_name("r.json").read_text())
    assert document["verdict"] == "good"
    assert document["nodes"]["after"] == document["nodes"]["before"] - 1
    assert document["macs"]["before"] == document["macs"]["after"] > 0
    assert document["proof"]["samples"] == 6
    assert {each["threads"] for each in document["latency"]} >= {1}
    folded = next(p for p in document["passes"] if p["name"] == "fold_affine_after")
    assert (folded["changes"], folded["nodes_before"] - folded["nodes_after"]) == (1, 1)


def test_inputs_can_be_fixed(run, net):
    result = run("optimize", net, "--fix-shape", "image=2,3,8,8", "-q")
    assert (result.exit_code, result.stdout) == (0, "")
    graph = onnx.load(net.with_name("net.opt.onnx")).graph
    dims = [d.dim_value for d in graph.output[0].type.tensor_type.shape.dim]
    assert dims == [2, 5]


def test_passes_can_be_chosen_and_skipped(run, net):
    run("optimize", net, "--skip-pass", "fold_affine_after", "-o", "a.onnx")
    run("optimize", net, "--passes", "infer_shapes,remove_dead", "-o", "b.onnx")
    for name in ("a.onnx", "b.onnx"):
        ops = [node.op_type for node in onnx.load(net.with_name(name)).graph.node]
        assert "BatchNormalization" in ops


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--fix-shape", "image"), "is not NAME=DIMS"),
        (("--fix-shape", "image=1,3"), "has 4 dimensions, 2 sizes"),
        (("--fix-shape", "image=1,4,8,8"), "dimension 1 is fixed to 3"),
        (("--fix-shape", "picture=1,3,8,8"), "no input or symbolic dimension 'picture'"),
        (("--fix-shape", "N=1", "--fix-shape", "image=2,3,8,8"), "cannot be both 1 and 2"),
        (("--fix-shape", "N=0"), "positive"),
        (("--passes", "fold_everything"), "unknown pass 'fold_everything'"),
        (("--skip-pass", "fold_padd"), "Did you mean"),
        (("--target", "toaster"), "unknown target"),
        (("-o", "net.onnx"), "is a file that is read"),
    ],
)
def test_mistakes_are_told(run, net, refused, options, said):
    refused(run("optimize", net, *options), said)
    assert not net.with_name("net.opt.onnx").exists()


def test_a_model_that_random_inputs_do_not_suit_is_called_unproven(run, work):
    text = """
    g (float[N, 4] x) => (float[N] y) {{
      c = Constant <value_int = 7> ()
      y = Gather <axis = 1> (x, c)
    }}
    """
    onnx.save(models.build(text), work / "g.onnx")
    result = run("optimize", "g.onnx")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("unproven")
    assert "give samples that it takes with --calib DATA" in " ".join(result.stdout.split())
    assert (work / "g.opt.onnx").exists()


def test_a_symbolic_dimension_can_be_fixed_by_its_name(run, net):
    assert run("optimize", net, "--fix-shape", "N=1", "-q").exit_code == 0
    graph = onnx.load(net.with_name("net.opt.onnx")).graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, 3, 8, 8]


def test_only_a_named_target_brings_operators_of_its_runtime(run, net):
    run("optimize", net, "-o", "plain.onnx", "-q")
    run("optimize", net, "--target", "cpu", "-o", "cpu.onnx", "-q")
    plain, cpu = (
        {node.domain for node in onnx.load(net.with_name(name)).graph.node}
        for name in ("plain.onnx", "cpu.onnx")
    )
    assert plain == {""}
    assert "com.microsoft" in cpu


def test_verbose_lists_passes_that_had_nothing_to_do(run, net):
    assert "fold_pad" not in run("optimize", net).stdout
    assert "fold_pad" in run("optimize", net, "--verbose").stdout


def test_a_pass_that_is_left_out_is_a_warning(run, net, monkeypatch):
    from edgeq.api import optimizing
    from edgeq.passes.outcome import Outcome

    def spoil(model):
        next(node for node in model.graph if node.op_type == "Relu").op_type = "Abs"
        return Outcome(1)

    real = optimizing.for_target
    monkeypatch.setattr(optimizing, "for_target", lambda target: (spoil, *real(target)))
    document = json.loads(run("optimize", net, "--json").stdout)
    assert [each["name"] for each in document["dropped"]] == ["spoil"]
    assert document["warnings"][0].startswith("Pass spoil was left out: output scores")
    assert document["verdict"] == "good"
