"""``kv_cache``: attention fused over caches, and caches in integers at the interface."""

import weakref

import decoders
import graphs
import numpy as np
import onnx_ir as ir
import pytest

import edgeq
from edgeq.api import caching
from edgeq.errors import RecipeError, UnsupportedError
from edgeq.graph import walk
from edgeq.runtime.session import Session
from edgeq.validation.verdict import Thresholds

SAMPLES = [decoders.fed(20, 6, seed=seed) for seed in range(6)]


def quantized(form, **options):
    return edgeq.quantize(
        decoders.decoder(), SAMPLES, scheme="w8", kv_cache=form, threads=1, **options
    )


@pytest.fixture(scope="module")
def in_int8():
    return quantized("int8")


def test_caches_change_their_type_and_nothing_else_does(in_int8):
    ports = {
        value.name: value for value in (*in_int8.model.graph.inputs, *in_int8.model.graph.outputs)
    }
    for name, port in ports.items():
        kind = ir.DataType.INT8 if name.startswith(("past_", "present_")) else None
        assert kind is None or port.dtype == kind
    assert ports["logits"].dtype == ir.DataType.FLOAT
    assert [str(d) for d in ports["past_key_0"].shape] == ["b", "2", "past", "8"]


def test_it_is_compared_with_caches_as_floats(in_int8):
    assert in_int8.passed
    assert set(in_int8.report.outputs) >= {"logits", "present_key_0"}
    assert in_int8.report.outputs["logits"].sqnr_db > 25
    said = " ".join(in_int8.report.notes)
    assert "Attention of 2 layers is fused" in said
    assert "4 caches take 64 bytes a token in place of 256" in said


def test_it_runs_on_integers(in_int8):
    sample = decoders.fed(1, 3)
    for name, array in sample.items():
        if name.startswith("past_"):
            sample[name] = np.zeros(array.shape, np.int8)
    answer = Session(in_int8.model).run(sample)
    assert answer["present_value_1"].dtype == np.int8
    assert answer["present_value_1"].shape == (1, 2, 4, 8)


def test_perplexity_with_the_cache_in_integers_is_that_of_floats(in_int8):
    def text(dtype):
        samples = [decoders.fed(30, seed=seed) for seed in range(20, 26)]
        return [{n: a.astype(dtype) if "past_" in n else a for n, a in s.items()} for s in samples]

    want = edgeq.evaluate(decoders.decoder(), text(np.float32), "perplexity#bits", threads=1)
    got = edgeq.evaluate(in_int8.model, text(np.int8), "perplexity#bits", threads=1)
    assert got.value == pytest.approx(want.value, rel=0.01)


def test_attention_alone_is_fused_with_the_interface_as_it_was():
    made = quantized("float32")
    assert made.report.outputs["logits"].sqnr_db > 30
    operators = [node.op_type for node in walk.nodes(made.model)]
    assert operators.count("GroupQueryAttention") == 2
    assert made.report.needs.since == (1, 30)
    assert made.model.graph.inputs[2].dtype == ir.DataType.FLOAT


@pytest.mark.parametrize("model", [lambda: decoders.decoder(rotated=True), decoders.by_torch])
def test_rotations_are_fused_with_the_attention_behind_them_without_data(model):
    made = edgeq.quantize(model(), scheme="w8", kv_cache="float32", threads=1)
    assert made.report.outputs["logits"].sqnr_db > 30
    operators = [node.op_type for node in walk.nodes(made.model)]
    assert operators.count("GroupQueryAttention") == 2
    assert operators.count("RotaryEmbedding") == 4
    assert "Neg" not in operators


def test_four_bits_take_an_eighth():
    made = quantized("int4", validate=False)
    assert "take 32 bytes a token in place of 256" in " ".join(made.report.notes)
    assert made.model.graph.inputs[2].dtype == ir.DataType.UINT8


def test_what_does_not_go_together_is_told():
    with pytest.raises(RecipeError, match="Did you mean 'int8'"):
        quantized("int88")
    with pytest.raises(RecipeError, match="scheme fp16 leaves caches"):
        edgeq.quantize(decoders.decoder(), SAMPLES, scheme="fp16", kv_cache="int8")
    with pytest.raises(RecipeError, match="found on samples"):
        edgeq.quantize(decoders.decoder(), scheme="w8", kv_cache="int8")


def test_a_model_without_a_cache_is_told_what_to_export():
    model = graphs.proto(
        "lm (int64[b,s] input_ids) => (float[b,s,64] logits) { logits = Gather(t, input_ids) }",
        t=graphs.numbers(0, 64, 64),
    )
    samples = [{"input_ids": np.arange(8)[None]}]
    with pytest.raises(UnsupportedError, match="past_key_values"):
        edgeq.quantize(model, samples, scheme="w8", kv_cache="int8")


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_validating_feeds_the_result_like_its_original(form):
    made = quantized(form, validate=False)
    asked = Thresholds(min_sqnr=5.0)
    found = edgeq.validate(decoders.decoder(), made.model, SAMPLES, thresholds=asked, threads=1)
    want, got = made.report.outputs["logits"], found.report.outputs["logits"]
    assert found.passed
    assert got.sqnr_db == pytest.approx(want.sqnr_db, abs=0.01)


def test_a_device_gets_the_file_as_it_is(in_int8):
    with pytest.raises(RecipeError, match="float caches"):
        edgeq.validate(decoders.decoder(), in_int8.model, SAMPLES, device="qemu://arm64")


def test_no_two_models_are_in_memory_at_once(monkeypatch):
    alive, together = weakref.WeakSet(), []
    plain = Session.__init__

    def counted(self, *given, **options):
        plain(self, *given, **options)
        alive.add(self)
        together.append(len(alive))

    monkeypatch.setattr(Session, "__init__", counted)
    quantized("int8", validate=False)
    assert len(together) > 3
    assert max(together) == 1


def test_a_runtime_without_such_attention_is_told(monkeypatch):
    monkeypatch.setattr(caching, "VERSION", "1.28.0")
    with pytest.raises(
        UnsupportedError, match=r"1\.30 or newer \(GroupQueryAttention .*1\.28\.0 is"
    ):
        quantized("float32")
