"""The sample that is kept is uniform, seeded, in order, and does not fill the memory."""

import numpy as np
import pytest

from edgeq.calibration.kept import KeptSamples
from edgeq.errors import CalibrationError


def filled(count, **options):
    kept = KeptSamples(**options)
    for index in range(count):
        kept.offer(index, {"x": np.full(4, index, np.float32)})
    return kept


def indices(kept):
    return [int(sample["x"][0]) for sample in kept]


def test_a_short_stream_is_kept_whole():
    assert indices(filled(5, limit=8)) == [0, 1, 2, 3, 4]


def test_a_long_stream_is_sampled_in_order():
    kept = filled(100, limit=10)
    assert len(kept) == 10
    assert kept.seen == 100
    assert indices(kept) == sorted(set(indices(kept)))


def test_the_same_seed_keeps_the_same_samples():
    assert indices(filled(100, limit=10, seed=3)) == indices(filled(100, limit=10, seed=3))
    assert indices(filled(100, limit=10, seed=3)) != indices(filled(100, limit=10, seed=4))


def test_every_sample_has_the_same_chance():
    counts = np.zeros(20)
    for seed in range(2000):
        for index in indices(filled(20, limit=5, seed=seed)):
            counts[index] += 1
    # 500 expected, binomial with a standard deviation of 19.4.
    assert np.abs(counts - 500).max() < 90


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_parts_in_any_order_keep_what_the_whole_keeps(parts):
    shards = [KeptSamples(limit=10, seed=4) for _ in range(parts)]
    for index in reversed(range(100)):
        shards[index % parts].offer(index, {"x": np.full(4, index, np.float32)})
    merged = shards[-1]
    for shard in shards[:-1]:
        merged = merged.merge(shard)
    assert merged.seen == 100
    assert indices(merged) == indices(filled(100, limit=10, seed=4))
    assert [index for index, _ in merged.items()] == indices(merged)


def test_samples_of_different_seeds_do_not_merge():
    with pytest.raises(CalibrationError, match="seeds 1 and 2"):
        filled(3, seed=1).merge(filled(3, seed=2))


@pytest.mark.parametrize("memory", [0, 40, 10**6])
def test_what_does_not_fit_into_memory_is_read_back_from_disk(memory):
    kept = filled(50, limit=8, memory=memory)
    held = [stored for stored in kept._stored.values() if isinstance(stored, dict)]
    assert sum(array.nbytes for sample in held for array in sample.values()) <= memory
    assert indices(kept) == indices(filled(50, limit=8))
    assert kept[0]["x"].dtype == np.float32


def test_the_files_of_samples_that_were_replaced_are_gone():
    kept = filled(50, limit=8, memory=0)
    folder = kept._folder
    assert len(list(folder.iterdir())) == 8
    del kept
    assert not folder.exists()


@pytest.mark.parametrize("name", ["file", "allow_pickle", "arr_0", "a/b:0", "é", "x.npy"])
def test_inputs_may_have_any_name(name):
    kept = KeptSamples(memory=0)
    kept.offer(0, {name: np.arange(3), "other": np.float32([2.5])})
    assert list(kept[0]) == [name, "other"]
    assert kept[0][name].tolist() == [0, 1, 2]


def test_text_comes_back_as_text():
    kept = KeptSamples(memory=0)
    kept.offer(0, {"words": np.array(["one", "und zwei"], object)})
    assert kept[0]["words"].dtype == object
    assert kept[0]["words"].tolist() == ["one", "und zwei"]


def test_what_is_kept_does_not_change_with_the_array_that_was_offered():
    kept, array = KeptSamples(), np.zeros(2)
    kept.offer(0, {"x": array})
    array[:] = 7
    assert kept[0]["x"].tolist() == [0, 0]


def test_slices_and_iteration_agree():
    kept = filled(30, limit=6)
    assert [int(sample["x"][0]) for sample in kept[1:4]] == indices(kept)[1:4]
    assert int(kept[-1]["x"][0]) == indices(kept)[-1]
