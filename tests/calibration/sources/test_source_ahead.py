"""Items read ahead come in their order, with their errors, from one thread that ends."""

import gc
import threading
import time

import numpy as np
import pytest

from edgeq.calibration.sources import InputSpec, open_source
from edgeq.calibration.sources.ahead import ahead
from edgeq.errors import DataError


def running():
    return [t for t in threading.enumerate() if t.name == "edgeq-samples"]


def gone():
    end = time.monotonic() + 5
    while running() and time.monotonic() < end:
        time.sleep(0.01)
    return not running()


def test_items_come_in_their_order_from_one_other_thread():
    def numbers():
        for number in range(100):
            threads.add(threading.current_thread().name)
            yield number

    threads = set()
    assert list(ahead(numbers())) == list(range(100))
    assert threads == {"edgeq-samples"}
    assert gone()


def test_nothing_is_read_before_the_first_item_is_asked_for():
    made = []
    items = ahead(made.append(n) for n in range(3))
    time.sleep(0.05)
    assert made == []
    next(items)
    items.close()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_no_more_than_asked_for_is_read_ahead(count):
    made = []

    def numbers():
        for number in range(20):
            made.append(number)
            yield number

    items = ahead(numbers(), count)
    assert next(items) == 0
    time.sleep(0.1)
    assert 1 <= len(made) <= count + 1
    assert next(items) == 1
    time.sleep(0.1)
    assert len(made) == count + 2
    items.close()


def test_an_error_is_raised_where_its_item_would_have_come():
    def broken():
        yield from (1, 2)
        raise ValueError("the third")

    items = ahead(broken())
    assert (next(items), next(items)) == (1, 2)
    with pytest.raises(ValueError, match="third"):
        next(items)
    with pytest.raises(StopIteration):
        next(items)
    assert gone()


def test_an_empty_series():
    assert list(ahead(iter(()))) == []


@pytest.mark.parametrize("how", ["close", "drop", "raise"])
def test_the_thread_ends_and_closes_its_source_when_nobody_reads_on(how):
    closed = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    items = ahead(endless())
    next(items)
    if how == "close":
        items.close()
    elif how == "drop":
        del items
        gc.collect()
    else:
        with pytest.raises(KeyboardInterrupt):
            items.throw(KeyboardInterrupt)
    assert gone()
    assert closed == ["edgeq-samples"]


def test_closing_does_not_wait_for_a_source_that_hangs(monkeypatch):
    monkeypatch.setattr("edgeq.calibration.sources.ahead._PATIENCE", 0.05)
    hang = threading.Event()

    def hanging():
        yield 0
        hang.wait()
        yield 1

    items = ahead(hanging())
    next(items)
    items.close()
    hang.set()
    assert gone()


def test_files_are_read_in_a_thread_and_python_samples_in_the_callers(tmp_path):
    samples = [np.full((1, 2), n, np.float32) for n in range(12)]
    np.savez(tmp_path / "all.npz", x=np.concatenate(samples))
    folder = tmp_path / "files"
    folder.mkdir()
    for number, sample in enumerate(samples):
        np.savez(folder / f"{number:02}.npz", x=sample)
    inputs = [InputSpec("x", np.dtype(np.float32), ("N", 2))]
    for data, threaded in (
        (folder, 1),
        (tmp_path / "all.npz", 0),
        ([{"x": s} for s in samples], 0),
    ):
        read = open_source(data, inputs).indexed(lambda index: index % 3 != 1)
        index, _ = next(read)
        assert (index, len(running())) == (0, threaded)
        rest = [(index, float(sample["x"][0, 0])) for index, sample in read]
        assert rest == [(n, float(n)) for n in range(1, 12) if n % 3 != 1]
        assert gone()


def test_a_damaged_file_is_told_after_the_samples_before_it(tmp_path):
    for number in range(6):
        np.savez(tmp_path / f"{number}.npz", x=np.zeros((1, 2), np.float32))
    (tmp_path / "3.npz").write_bytes(b"no zip")
    inputs = [InputSpec("x", np.dtype(np.float32), ("N", 2))]
    read = open_source(tmp_path, inputs).indexed(lambda _: True)
    assert [next(read)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match=r"3\.npz"):
        next(read)
