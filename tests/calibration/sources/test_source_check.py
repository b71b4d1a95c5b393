"""What is fed to a model fits it, or the message says why not."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeq.calibration.sources import InputSpec, open_source
from edgeq.errors import DataError

PICTURE = InputSpec("x", np.dtype(np.float32), ("batch", 3, 4, 5))


def spec(dtype, shape=None, name="x"):
    return InputSpec(name, np.dtype(dtype), shape)


def feed(array, *inputs):
    source = open_source([{"x": np.asarray(array)}], inputs)
    return next(iter(source))["x"], source.assumptions


@given(hnp.arrays(np.float32, hnp.array_shapes(), elements=st.floats(-1e6, 1e6, width=32)))
def test_a_fitting_sample_passes_unchanged(array):
    fed, assumptions = feed(array, spec(np.float32, (None,) * array.ndim))
    assert fed is array
    assert assumptions == ()


def test_an_unknown_name_is_met_with_the_nearest_one():
    with pytest.raises(DataError, match=r"sample 0.*no input 'input_idz'.*'input_ids'.*mask"):
        list(
            open_source(
                [{"input_idz": np.zeros(1), "mask": np.zeros(1)}],
                [spec(np.float64, name="input_ids"), spec(np.float64, name="mask")],
            )
        )


def test_a_missing_input_is_named():
    inputs = [spec(np.float64), spec(np.float64, name="mask")]
    with pytest.raises(DataError, match=r"no array for the input 'mask'.*wants: x, mask"):
        list(open_source([{"x": np.zeros(1)}], inputs))


def test_a_colon_zero_in_a_name_is_nothing_special():
    with pytest.raises(DataError, match="no input 'x'"):
        list(open_source([{"x": np.zeros(1)}], [spec(np.float64, name="x:0")]))


def test_a_missing_batch_dimension_is_added_and_said_once():
    source = open_source([{"x": np.zeros((3, 4, 5), np.float32)}] * 3, [PICTURE])
    assert [sample["x"].shape for sample in source] == [(1, 3, 4, 5)] * 3
    assert source.assumptions == ("Input 'x' is given a batch dimension of 1 in front",)


def test_a_batch_dimension_is_not_added_where_the_model_wants_more_than_one():
    with pytest.raises(DataError, match=r"\[3\], the model wants \[8, 3\]"):
        feed(np.zeros(3), spec(np.float64, (8, 3)))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 4, 5, 3), "looks like NHWC where the model takes NCHW"),
        ((4, 5, 3), "looks like NHWC where the model takes NCHW"),
        ((1, 3, 4, 6), r"has shape \[1, 3, 4, 6\], the model wants \[batch, 3, 4, 5\]"),
        ((7,), "Give arrays with 4 dimensions"),
    ],
)
def test_a_wrong_shape_is_named_with_the_wanted_one(shape, said):
    with pytest.raises(DataError, match=said):
        feed(np.zeros(shape, np.float32), PICTURE)


def test_a_wrong_batch_size_is_told_from_a_wrong_shape():
    with pytest.raises(DataError, match="takes batches of 8"):
        feed(np.zeros((1, 3)), spec(np.float64, (8, 3)))


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (np.float64, np.float32),
        (np.float32, np.float16),
        (np.float32, ml_dtypes.bfloat16),
        (ml_dtypes.bfloat16, np.float32),
        (np.int32, np.int64),
        (np.int64, np.int32),
        (np.bool_, np.int64),
        (np.int64, np.bool_),
    ],
)
def test_a_harmless_cast_is_done_and_said(have, want):
    fed, assumptions = feed(np.array([0, 1], have), spec(want))
    assert fed.dtype == want
    assert fed.astype(int).tolist() == [0, 1]
    assert len(assumptions) == 1
    assert str(np.dtype(have)) in assumptions[0]


def test_another_byte_order_is_not_worth_a_word():
    fed, assumptions = feed(np.array([1.5], ">f4"), spec(np.float32))
    assert (fed.dtype, fed.tolist(), assumptions) == (np.float32, [1.5], ())


def test_pixels_fed_as_floats_are_said_to_be_unnormalised():
    fed, assumptions = feed(np.array([0, 255], np.uint8), spec(np.float32))
    assert fed.tolist() == [0, 255]
    assert "uint8" in assumptions[0]
    assert "normalised" in assumptions[0]


@pytest.mark.parametrize(
    ("array", "want"),
    [
        (np.array([1.0]), np.int64),
        (np.array([300]), np.uint8),
        (np.array([-1]), np.uint64),
        (np.array([2**63], np.uint64), np.int64),
        (np.array([2]), np.bool_),
        (np.array([1e300]), np.float32),
        (np.array([70000]), np.float16),
        (np.array([1j]), np.float32),
        (np.array(["a"]), np.float32),
    ],
)
def test_a_cast_that_loses_numbers_is_refused(array, want):
    with pytest.raises(DataError, match=r"sample 0: input 'x' holds"):
        feed(array, spec(want))


@given(hnp.arrays(hnp.integer_dtypes(endianness="="), 5), hnp.integer_dtypes(endianness="="))
def test_an_integer_cast_keeps_all_numbers_or_is_refused(array, want):
    limits = np.iinfo(want)
    fits = limits.min <= int(array.min()) and int(array.max()) <= limits.max
    if fits:
        assert feed(array, spec(want))[0].tolist() == array.tolist()
    else:
        with pytest.raises(DataError):
            feed(array, spec(want))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_numbers_that_are_not_finite_are_counted(dtype):
    array = np.array([1, np.nan, np.inf, -np.inf], dtype)
    with pytest.raises(DataError, match=r"sample 0: input 'x' holds 3 of 4 numbers"):
        feed(array, spec(dtype))


def test_an_empty_array_is_fed_only_where_the_dimension_is_dynamic():
    assert feed(np.zeros((1, 0)), spec(np.float64, (1, "length")))[0].shape == (1, 0)
    with pytest.raises(DataError, match=r"\[1, 0\], the model wants \[1, 4\]"):
        feed(np.zeros((1, 0)), spec(np.float64, (1, 4)))


def test_texts_feed_a_text_input():
    assert feed(np.array(["a", "b"]), spec(object))[0].tolist() == ["a", "b"]
