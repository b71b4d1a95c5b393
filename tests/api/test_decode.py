"""Reading prompts and writing behind them: with a cache, without one, beside another model."""

import decoders
import graphs
import numpy as np
import pytest

import edgeq
from edgeq.api.decoding import _decoder
from edgeq.errors import DataError, ModelError, RecipeError
from edgeq.graph import loader

TEXT = "lm (int64[b,s] input_ids) => (float[b,s,20] logits) { logits = Gather(table, input_ids) }"


def bigrams(seed=0):
    return graphs.proto(TEXT, table=graphs.numbers(seed, 20, 20, scale=2))


def test_every_length_is_told_with_what_the_cache_takes():
    found = edgeq.decode(decoders.decoder(), 3, contexts=[9, 5], threads=1)
    assert [row.context for row in found.rows] == [5, 9]
    token = 2 * 2 * decoders.SHARED * decoders.CHANNELS * 4
    assert [row.model.cache_bytes for row in found.rows] == [8 * token, 12 * token]
    assert all(row.model.read > 0 and row.model.written > 0 for row in found.rows)
    assert found.rows[0].reference is None


def test_integers_take_a_quarter_beside_their_original():
    samples = [decoders.fed(20, 6, seed=seed) for seed in range(3)]
    made = edgeq.quantize(
        decoders.decoder(), samples, scheme="w8", kv_cache="int8", threads=1, validate=False
    )
    found = edgeq.decode(made.model, 2, reference=decoders.decoder(), contexts=[6], threads=1)
    (row,) = found.rows
    assert row.reference.cache_bytes == 4 * row.model.cache_bytes
    assert found.to_dict()["contexts"][0]["reference"]["cache_bytes"] == row.reference.cache_bytes


def test_writing_with_a_cache_is_reading_everything_anew():
    decoder = _decoder(loader.load(decoders.decoder()).model, 1)
    prompt = np.array([[3, 1, 4, 1, 5]])
    decoder.read(prompt)
    for _ in range(4):
        decoder.write()
    kept, held = decoder._tokens, decoder._held
    decoder.read(kept)
    for name, array in decoder._held.items():
        np.testing.assert_allclose(held[name], array, atol=1e-4)


def test_a_model_without_a_cache_writes_too():
    table = graphs.numbers(0, 20, 20, scale=2)
    decoder = _decoder(loader.load(bigrams()).model, 1)
    decoder.read(np.array([[7]]))
    decoder.write()
    assert decoder._tokens.tolist() == [[7, int(table[7].argmax())]]
    (row,) = edgeq.decode(bigrams(), 2, contexts=[4], threads=1).rows
    assert row.model.cache_bytes == 0


def test_what_cannot_be_fed_or_counted_is_refused():
    with pytest.raises(RecipeError, match="nothing to read"):
        edgeq.decode(bigrams(), 2, contexts=[0])
    picture = graphs.proto("net (float[1,3] x) => (float[1,3] y) { y = Relu(x) }")
    with pytest.raises((DataError, ModelError)):
        edgeq.decode(picture, 2)
