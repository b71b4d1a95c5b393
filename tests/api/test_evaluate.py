"""Scoring one model on labelled data."""

import graphs
import numpy as np
import pytest

import edgeq
from edgeq.errors import DataError, RecipeError

TEXT = "lm (int64[b,s] input_ids) => (float[b,s,20] logits) { logits = Gather(table, input_ids) }"


def bigrams():
    return graphs.proto(TEXT, table=graphs.numbers(0, 20, 20, scale=2))


def texts(count=6, length=9):
    generator = np.random.default_rng(1)
    return [{"input_ids": generator.integers(0, 20, (1, length))} for _ in range(count)]


def by_hand():
    table = graphs.numbers(0, 20, 20, scale=2).astype(np.float64)
    log = table - np.log(np.exp(table).sum(-1, keepdims=True))
    losses = [-log[t["input_ids"][0, :-1], t["input_ids"][0, 1:]] for t in texts()]
    return float(np.exp(np.concatenate(losses).mean()))


def test_perplexity_of_text_with_its_interval():
    found = edgeq.evaluate(bigrams(), texts(), "perplexity", threads=1)
    assert found.value == pytest.approx(by_hand(), rel=1e-5)
    assert found.interval.low < found.value < found.interval.high
    assert found.samples == 6
    assert not found.higher_is_better


def test_what_one_model_cannot_be_scored_by_is_refused():
    with pytest.raises(RecipeError, match="edgeq validate"):
        edgeq.evaluate(bigrams(), texts(), "cosine")
    with pytest.raises(DataError, match="needs labels"):
        edgeq.evaluate(bigrams(), texts(), "top1", threads=1)


def test_validating_knows_perplexity_too():
    found = edgeq.validate(bigrams(), bigrams(), texts(), metric="perplexity", threads=1)
    assert found.report.metric.fp32 == pytest.approx(by_hand(), rel=1e-5)
