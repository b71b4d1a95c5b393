"""Perplexity against the definition, from labels and from the text itself."""

import numpy as np
import pytest

from edgeq.errors import DataError
from edgeq.metrics.confidence import resampled
from edgeq.metrics.language import perplexity, token_losses
from edgeq.metrics.named import load_metric


def logits(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 3


def by_definition(rows, targets):
    chances = np.exp(rows.astype(np.float64))
    chances /= chances.sum(-1, keepdims=True)
    return np.exp(-np.log(chances[np.arange(len(targets)), targets]).mean())


def test_it_is_the_inverse_of_the_mean_chance_of_the_tokens():
    rows, targets = logits(0, 1, 6, 11), np.asarray([3, 1, 4, 1, 5, 9])
    kept = token_losses({"logits": rows}, {}, {"next": targets})
    found = perplexity([kept, kept], {})
    assert found["perplexity"] == pytest.approx(by_definition(rows[0], targets))
    assert found["bits"] == pytest.approx(np.log2(found["perplexity"]))
    assert found["accuracy"] == pytest.approx((rows[0].argmax(-1) == targets).mean())


def test_a_model_that_knows_nothing_hesitates_between_all_tokens():
    kept = token_losses({"logits": np.zeros((1, 5, 50), np.float32)}, {}, {"next": np.arange(5)})
    assert perplexity([kept], {})["perplexity"] == pytest.approx(50)


def test_without_labels_the_text_itself_is_what_follows():
    rows, text = logits(1, 2, 5, 9), np.random.default_rng(2).integers(0, 9, (2, 5))
    kept = token_losses({"y": rows}, {"input_ids": text}, {})
    want = by_definition(rows[:, :-1].reshape(-1, 9), text[:, 1:].reshape(-1))
    assert perplexity([kept], {})["perplexity"] == pytest.approx(want)


def test_fewer_tokens_than_positions_belong_to_the_last_ones():
    rows = logits(3, 1, 6, 9)
    kept = token_losses({"logits": rows}, {}, {"next": np.asarray([2, 7])})
    assert perplexity([kept], {})["perplexity"] == pytest.approx(
        by_definition(rows[0, -2:], [2, 7])
    )


def test_large_logits_do_not_overflow():
    rows = np.asarray([[[1e4, -1e4]]], np.float32)
    assert token_losses({"logits": rows}, {}, {"next": np.asarray([1])})["loss"][0] == 2e4


@pytest.mark.parametrize(
    ("outputs", "sample", "labels", "said"),
    [
        ({"y": np.zeros((2, 3))}, {}, {"next": np.zeros(2, int)}, "no output is called 'logits'"),
        ({"logits": np.zeros((1, 2, 3))}, {}, {"next": np.zeros(4, int)}, "4 tokens"),
        ({"logits": np.zeros((1, 2, 3))}, {}, {"next": np.asarray([0, 3])}, "the model knows 3"),
        ({"logits": np.zeros((1, 2, 3))}, {"x": np.zeros(3)}, {}, "there are no labels"),
    ],
)
def test_what_does_not_fit_is_told(outputs, sample, labels, said):
    with pytest.raises(DataError, match=said):
        token_losses(outputs, sample, labels)


def test_lower_is_better_and_a_number_can_be_picked():
    assert not load_metric("perplexity").higher_is_better
    assert load_metric("perplexity#bits").key == "bits"


def test_the_interval_narrows_with_more_samples():
    def mean(values):
        return lambda chosen: float(values[np.asarray(chosen)].mean())

    few, many = (np.random.default_rng(0).standard_normal(n) for n in (20, 2000))
    narrow, wide = resampled(mean(many), 2000), resampled(mean(few), 20)
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.1)
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)
