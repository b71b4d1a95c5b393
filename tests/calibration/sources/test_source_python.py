"""Samples made in Python: lists, generators, readers and functions."""

import numpy as np
import pytest

from edgeq.calibration.sources import InputSpec, open_source
from edgeq.errors import DataError, RecipeError

X = InputSpec("x", np.dtype(np.float32), (1, 4))
Y = InputSpec("y", np.dtype(np.int64), ())


def sample(value=0):
    return {"x": np.full((1, 4), value, np.float32)}


def values(source):
    return [float(s["x"][0, 0]) for s in source]


class Reader:
    def __init__(self, count):
        self.left = count

    def get_next(self):
        self.left -= 1
        return sample(self.left) if self.left >= 0 else None


class Indexed:
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return sample(index)  # like many data sets, without an IndexError


class Tensor:
    def __array__(self, dtype=None, copy=None):
        return np.zeros((1, 4), np.float32)


def test_a_list_is_read_as_often_as_wanted():
    source = open_source([sample(1), sample(2)], [X])
    assert values(source) == values(source) == [1, 2]
    assert source.length_hint() == 2
    assert open_source([sample()] * 3, [X], max_samples=2).length_hint() == 2


def test_a_generator_is_read_lazily_and_once():
    made = []

    def generate():
        for value in range(5):
            made.append(value)
            yield sample(value)

    source = open_source(generate(), [X], max_samples=3)
    assert source.length_hint() is None
    iterator = iter(source)
    next(iterator)
    assert made == [0]
    assert len(list(iterator)) == 2
    assert made == [0, 1, 2]


def test_reading_a_generator_again_is_explained():
    source = open_source((sample() for _ in range(2)), [X])
    list(source)
    with pytest.raises(DataError, match=r"can be read only once.*Pass a list"):
        list(source)


@pytest.mark.parametrize("data", [[], iter(()), Reader(0), list])
def test_no_samples_at_all_is_an_error(data):
    with pytest.raises(DataError, match="there are no samples"):
        list(open_source(data, [X]))


def test_a_reader_is_read_until_none():
    source = open_source(Reader(3), [X])
    assert values(source) == [2, 1, 0]
    assert "Reader" in source.description


def test_a_function_is_called_anew_for_each_reading():
    source = open_source(lambda: (sample(v) for v in (1, 2)), [X])
    assert values(source) == values(source) == [1, 2]


def test_a_class_of_readers_is_a_function_too():
    class Three(Reader):
        def __init__(self):
            super().__init__(3)

    assert values(open_source(Three, [X])) == [2, 1, 0]


def test_an_indexed_data_set_is_read_to_its_length():
    assert values(open_source(Indexed(), [X])) == [0, 1, 2]


def test_one_input_needs_no_names():
    array = sample(3)["x"]
    for item in (array, (array,), [array], Tensor(), [[3, 3, 3, 3]], array[0].tolist()):
        assert next(iter(open_source([item], [X])))["x"].shape == (1, 4)
    assert len(list(open_source(np.zeros((5, 4), np.float32), [X]))) == 5


def test_tuples_feed_the_inputs_in_order():
    (only,) = open_source([(sample(3)["x"], np.int64(7))], [X, Y])
    assert int(only["y"]) == 7


def test_a_tuple_of_another_length_is_refused():
    with pytest.raises(DataError, match="sample has 2 arrays, the model has 1 inputs"):
        list(open_source([(sample()["x"], np.zeros(1))], [X]))


def test_labels_in_the_samples_are_set_aside_while_reading():
    source = open_source([{**sample(), "label_digit": np.int64(d)} for d in (4, 5)], [X])
    assert source.labels == {}
    assert all(set(s) == {"x"} for s in source)
    assert source.labels["digit"].tolist() == [4, 5]


def test_labels_missing_from_some_samples_are_refused():
    source = open_source([sample(), {**sample(), "label_digit": np.int64(1)}], [X])
    list(source)
    with pytest.raises(DataError, match="label_digit is not in every sample"):
        _ = source.labels


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (None, "a sample is None"),
        ({"x": object()}, "'x' is a object, not an array"),
        ({"x": None}, "'x' is a NoneType"),
        ({"x": [[1, 2], [3]]}, "'x' is not an array"),
        ({"x": np.zeros(1, "M8[s]")}, "not an array of numbers"),
    ],
)
def test_what_is_no_sample_is_named(item, said):
    with pytest.raises(DataError, match=said):
        list(open_source([item], [X]))


def test_a_failure_in_the_user_s_code_is_told_in_one_line():
    def generate():
        yield sample()
        raise ValueError("no such\nfile")

    with pytest.raises(DataError, match=r"sample 1: .*raises ValueError: no such file") as caught:
        list(open_source(generate(), [X]))
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_function_that_wants_an_argument_is_refused_before_reading():
    def load(path):
        return [path]

    with pytest.raises(DataError, match=r"load: it is called without arguments.*'path'"):
        open_source(load, [X])


@pytest.mark.parametrize("made", [None, 3, "text", {"x": np.zeros((1, 4))}])
def test_a_function_that_returns_no_series_is_refused(made):
    with pytest.raises(DataError, match=f"it returns a {type(made).__name__}"):
        list(open_source(lambda: made, [X]))


def test_one_dict_is_not_a_series():
    with pytest.raises(DataError, match="Pass a list of such dicts"):
        open_source(sample(), [X])


@pytest.mark.parametrize("data", [3, None, b"bytes"])
def test_other_objects_are_refused_with_what_is_accepted(data):
    with pytest.raises(DataError, match=r"not a source of samples.*get_next.*iterable"):
        open_source(data, [X])


def test_a_file_and_function_are_named_by_text(tmp_path, monkeypatch):
    (tmp_path / "load.py").write_text(
        "import numpy as np\nfrom shape import SHAPE\n"
        "def samples():\n    yield {'x': np.ones(SHAPE, np.float32)}\n"
        "values = 3\n"
    )
    (tmp_path / "shape.py").write_text("SHAPE = (1, 4)\n")
    monkeypatch.chdir(tmp_path)
    source = open_source("load.py:samples", [X])
    assert values(source) == [1]
    assert source.description == "samples of load.py:samples"
    with pytest.raises(DataError, match="it is a int, not a function"):
        open_source("load.py:values", [X])


def test_a_limit_below_one_is_refused():
    with pytest.raises(RecipeError, match="max_samples: 0 samples"):
        open_source([sample()], [X], max_samples=0)
