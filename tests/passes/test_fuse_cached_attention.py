"""Attention over a cache becomes GroupQueryAttention, with equal outputs."""

import decoders
import graphs
import numpy as np
import pytest

from edgeq.graph import loader, walk
from edgeq.passes.fuse_cached_attention import fuse_cached_attention
from edgeq.passes.infer_shapes import infer_shapes
from edgeq.passes.pipelines import FINALIZE, PREPARE_FOR_ONNXRUNTIME, run_pipeline
from edgeq.passes.prepare import prepare
from edgeq.runtime.session import Session

CASES = [decoders.fed(7), decoders.fed(1, 5), decoders.fed(3, 4), decoders.fed(1, 6, batch=2)]


def fused(model):
    infer_shapes(model)
    outcome = fuse_cached_attention(model)
    run_pipeline(model, FINALIZE)
    return outcome


def operators(model):
    return [node.op_type for node in walk.nodes(model)]


@pytest.fixture(scope="module")
def pair():
    """The decoder, and what the pass makes of it."""
    model = loader.load(decoders.decoder()).model
    made = model.clone()
    assert fused(made).changes == 2
    return model, made


@pytest.mark.parametrize("sample", CASES, ids=["prefill", "decode", "several", "batch"])
def test_outputs_are_equal(pair, sample):
    want, got = (Session(model).run(sample) for model in pair)
    assert set(want) == set(got)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5)


TORCH = [
    decoders.fed(7, positions=True),
    decoders.fed(1, 5, positions=True),
    # Rows of padding see no token at all.
    decoders.fed(6, batch=2, hidden=3, positions=True),
    decoders.fed(1, 4, batch=2, hidden=2, positions=True),
]


@pytest.mark.parametrize("sample", TORCH, ids=["prefill", "decode", "padded", "padded cache"])
def test_outputs_of_what_torch_writes_are_equal(sample, torch_pair):
    want, got = (Session(model).run(sample) for model in torch_pair)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def torch_pair():
    """What torch writes, and what the passes make of it."""
    model = loader.load(decoders.by_torch()).model
    prepared = prepare(model, pipeline=PREPARE_FOR_ONNXRUNTIME)
    assert prepared.dropped == ()
    made = prepared.model.clone()
    assert fused(made).changes == 2
    assert operators(made).count("ReduceMax") == 1
    return model, made


def test_one_token_at_a_time_is_fused_in_every_layer():
    proto = decoders.by_torch()
    for value in (*proto.graph.input, *proto.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "s":
                dim.dim_value = 1
            elif dim.dim_param == "past + s":
                dim.dim_param = "past + 1"
    model = loader.load(proto).model
    made = prepare(model, pipeline=PREPARE_FOR_ONNXRUNTIME).model
    assert operators(made).count("RotaryEmbedding") == 4
    assert fused(made).changes == 2
    sample = decoders.fed(1, 4, batch=2, hidden=2, positions=True)
    want, got = Session(model).run(sample), Session(made).run(sample)
    np.testing.assert_allclose(got["logits"], want["logits"], rtol=1e-4, atol=1e-5)


def test_nothing_of_the_attention_is_left(pair):
    found = operators(pair[1])
    assert found.count("GroupQueryAttention") == 2
    assert not {"Softmax", "Concat"} & set(found)


def test_the_lengths_are_computed_once(pair):
    assert operators(pair[1]).count("Sub") == 2  # one of them is the mask's


def test_everything_has_a_type(pair):
    outputs = [value for node in walk.nodes(pair[1]) for value in node.outputs if value.uses()]
    assert [value.name for value in outputs if value.dtype is None] == []


def test_a_second_time_there_is_nothing_to_do(pair):
    again = pair[1].clone()
    assert fuse_cached_attention(again).changes == 0


def test_attention_without_a_cache_is_left():
    model = graphs.build(
        """net (float[1,4,s,8] q, float[1,4,s,8] k, float[1,4,s,8] v) => (float[1,4,s,8] y) {
          t = Transpose<perm = [0, 1, 3, 2]>(k)
          a = MatMul(q, t)
          w = Softmax(a)
          y = MatMul(w, v)
        }"""
    )
    outcome = fuse_cached_attention(model)
    assert (outcome.changes, outcome.declined) == (0, ())


def test_a_mask_that_needs_the_cache_it_masks_is_told():
    text = decoders.decoder()
    for node in text.graph.node:
        if list(node.output) == ["total"]:
            node.input[0] = "present_key_0"
            next(a for a in node.attribute if a.name == "start").i = 2
            next(a for a in node.attribute if a.name == "end").i = 3
    model = loader.load(text).model
    for node in walk.nodes(model):
        if node.outputs[0].name == "present_key_0":
            model.graph.remove(node)
            model.graph.insert_before(model.graph[0], node)
    outcome = fused(model)
    assert outcome.changes == 1
    assert any("hangs on the cache" in reason for reason in outcome.declined)


@pytest.mark.parametrize("kind", ["float", "bool"])
def test_the_operator_of_opset_23_is_fused_as_well(kind):
    model = graphs.build(
        f"""net (float[b,4,s,8] q, float[b,2,s,8] k, float[b,2,s,8] v, {kind}[b,1,s,total] mask,
                 float[b,2,past,8] past_k, float[b,2,past,8] past_v)
          => (float[b,4,s,8] y, float[b,2,total,8] keys, float[b,2,total,8] values) {{
          keys = Concat<axis = 2>(past_k, k)
          values = Concat<axis = 2>(past_v, v)
          y = Attention<scale = 0.3>(q, keys, values, mask)
        }}""",
        opset=23,
    )
    mask = graphs.numbers(9, 2, 1, 1, 6)
    if kind == "bool":
        mask = mask > 0
        mask[1] = False
    made = model.clone()
    assert fused(made).changes == 1
    heads = {"q": 4, "k": 2, "v": 2}
    sample = {name: graphs.numbers(i, 2, h, 1, 8) for i, (name, h) in enumerate(heads.items())}
    sample |= {name: graphs.numbers(5, 2, 2, 5, 8) for name in ("past_k", "past_v")}
    sample["mask"] = mask
    want, got = Session(model).run(sample), Session(made).run(sample)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5)


SPELLED = """net (bool then, float[b,4,s,{n}] q, float[b,4,s,{n}] k, float[b,4,s,{n}] v,
    float[b,4,past,{n}] past_k, float[b,4,past,{n}] past_v, bool[b,1,s,total] visible)
  => (float[b,4,s,{n}] y, float[b,4,total,{n}] keys, float[b,4,total,{n}] values) {{
    mask = Where(visible, zero, never)
    {body}
  }}"""
BODY = """
    keys{i} = Concat<axis = 2>(past_k, k)
    values{i} = Concat<axis = 2>(past_v, v)
    turned{i} = Transpose<perm = [0, 1, 3, 2]>(keys{i})
    scores{i} = MatMul(q, turned{i})
    masked{i} = Add(scores{i}, mask)
    weights{i} = {softmax}(masked{i})
    y{i} = MatMul(weights{i}, values{i})
"""


def spelled(body, channels=8, opset=18):
    numbers = {"zero": np.float32(0), "never": np.float32(-np.inf)}
    return graphs.build(SPELLED.format(n=channels, body=body), opset=opset, **numbers)


def test_heads_that_the_kernel_refuses_are_left_and_told():
    outcome = fused(spelled(BODY.format(i="", softmax="Softmax"), channels=12))
    assert outcome.changes == 0
    assert any("multiple of 8 channels" in reason for reason in outcome.declined)


@pytest.mark.parametrize(("opset", "changes"), [(11, 0), (13, 1)])
def test_what_softmax_is_over_where_it_does_not_tell_hangs_on_the_opset(opset, changes):
    model = spelled(BODY.format(i="", softmax="Softmax"), opset=opset)
    assert fused(model).changes == changes


def test_bodies_share_nothing_that_one_of_them_computes():
    branch = """{i} () => (float[b,4,s,8] y{i}, float[b,4,total,8] keys{i},
      float[b,4,total,8] values{i}) {{ {body} }}"""
    softmax = {"softmax": "Softmax"}
    bodies = [branch.format(i=i, body=BODY.format(i=i, **softmax)) for i in ("first", "second")]
    model = spelled(
        f"y, keys, values = If(then) <then_branch = {bodies[0]}, else_branch = {bodies[1]}>"
    )
    made = model.clone()
    assert fused(made).changes == 2
    for then in (True, False):
        sample = {name: graphs.numbers(i, 2, 4, 1, 8) for i, name in enumerate("qkv")}
        sample |= {name: graphs.numbers(5, 2, 4, 5, 8) for name in ("past_k", "past_v")}
        sample |= {"then": np.array(then), "visible": np.ones((2, 1, 1, 6), bool)}
        want, got = Session(model).run(sample), Session(made).run(sample)
        np.testing.assert_allclose(got["y"], want["y"], rtol=1e-4, atol=1e-5)
