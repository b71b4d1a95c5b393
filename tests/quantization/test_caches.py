"""Caches of keys and values in integers: scales, the stored form, and what comes out."""

import decoders
import numpy as np
import pytest

from edgeq.errors import UnsupportedError
from edgeq.graph import loader
from edgeq.metrics import FidelityMeter
from edgeq.passes.fuse_cached_attention import fuse_cached_attention
from edgeq.passes.infer_shapes import infer_shapes
from edgeq.passes.pipelines import FINALIZE, run_pipeline
from edgeq.quantization.caches import CacheRanges, find_caches, store_caches, with_float_caches
from edgeq.runtime.session import Session

SAMPLES = [decoders.fed(40, 6, seed=seed) for seed in range(8)]


def decoder(*, fused):
    model = loader.load(decoders.decoder()).model
    infer_shapes(model)
    if fused:
        assert fuse_cached_attention(model).changes == 2
        run_pipeline(model, FINALIZE)
    return model


def scales(model, bits):
    caches = find_caches(model)
    ranges, session = CacheRanges(caches, bits), Session(model)
    for look in (ranges.widen, ranges.weigh):
        for sample in SAMPLES:
            answer = session.run(sample)
            look({cache.name: answer[cache.present.name] for cache in caches})
    return ranges.scales()


def stored(model, bits):
    made = model.clone()
    caches = store_caches(made, scales(model, bits), bits)
    run_pipeline(made, FINALIZE)
    return made, caches


def closeness(want, got):
    meter = FidelityMeter()
    meter.add(want, got)
    return meter.result().sqnr_db


def by_tokens(session, names, start, cache, tokens):
    """Logits of tokens fed one by one, each run continuing the cache of the one before."""
    sample, found = dict(start), []
    for place in range(tokens.shape[1]):
        sample["input_ids"] = tokens[:, place : place + 1]
        old = sample[cache[0]].shape[2]
        sample["attention_mask"] = np.ones((1, old + 1), np.int64)
        answer = session.run(sample)
        found.append(answer["logits"])
        sample.update({past: answer[present] for past, present in names.items()})
    return np.concatenate(found, axis=1), sample


@pytest.mark.parametrize(("bits", "fused", "least"), [(8, True, 30), (8, False, 30), (4, True, 8)])
def test_decoding_token_by_token_stays_close(bits, fused, least):
    model = decoder(fused=fused)
    made, caches = stored(model, bits)
    assert [cache.fused for cache in caches] == [fused] * 4
    names = {cache.past: cache.present for cache in caches}
    tokens = np.random.default_rng(3).integers(0, decoders.WORDS, (1, 20))
    empty = {
        cache.past: np.zeros(
            (1, decoders.SHARED, 0, decoders.CHANNELS * bits // 8),
            np.int8 if bits == 8 else np.uint8,
        )
        for cache in caches
    }
    floats = {name: np.zeros((1, 2, 0, decoders.CHANNELS), np.float32) for name in names}
    want, _ = by_tokens(Session(model), names, floats, list(names), tokens)
    got, last = by_tokens(Session(made), names, empty, list(names), tokens)
    assert closeness(want, got) > least
    assert last[caches[0].past].shape == (1, 2, 20, decoders.CHANNELS * bits // 8)


@pytest.mark.parametrize(("bits", "least"), [(8, 35), (4, 12)])
def test_with_float_caches_it_is_fed_like_the_original(bits, least):
    model = decoder(fused=True)
    made, caches = stored(model, bits)
    outside = with_float_caches(made, caches)
    run_pipeline(outside, FINALIZE)
    want, got = (Session(each).run(SAMPLES[0]) for each in (model, outside))
    for name, array in want.items():
        assert got[name].dtype == array.dtype
        assert closeness(array, got[name]) > least


def test_what_was_read_from_a_cache_is_written_back_unchanged():
    model = decoder(fused=True)
    made, caches = stored(model, 8)
    session = Session(made)
    past = np.random.default_rng(5).integers(-128, 128, (1, 2, 9, 8)).astype(np.int8)
    sample = decoders.fed(1, 9) | {cache.past: past for cache in caches}
    for cache in caches:
        np.testing.assert_array_equal(session.run(sample)[cache.present][:, :, :9], past)


def test_a_scale_covers_a_channel_unless_a_part_of_it_is_closer():
    model = decoder(fused=True)
    (cache, *_) = find_caches(model)
    ranges = CacheRanges([cache], 8)
    plain = np.full((1, 2, 50, 8), 0.5, np.float32)
    plain[0, 1, :, 3] = 127.0
    for look in (ranges.widen, ranges.weigh):
        look({cache.name: plain})
    found = ranges.scales()[cache.name]
    assert found[1, 3] == pytest.approx(1.0)
    assert found[0, 0] == pytest.approx(0.5 / 127)


def test_one_far_number_does_not_stretch_four_bits():
    model = decoder(fused=True)
    (cache, *_) = find_caches(model)
    ranges = CacheRanges([cache], 4)
    numbers = np.random.default_rng(0).standard_normal((1, 2, 2000, 8)).astype(np.float32)
    for look in (ranges.widen, ranges.weigh):
        look({cache.name: numbers})
    assert (ranges.scales()[cache.name] < np.abs(numbers).max(axis=(0, 2)) / 7 * 0.95).all()


def test_four_bits_need_the_fused_operator():
    with pytest.raises(UnsupportedError, match="not fused"):
        stored(decoder(fused=False), 4)
