"""Which constants and scales float16 holds."""

import numpy as np
import pytest

from edgeq.quantization.half_range import beyond_half, scales_beyond_half

NORMAL = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)


def with_row(row, factor):
    data = NORMAL.copy()
    data[row] *= factor
    return data


@pytest.mark.parametrize(
    "data",
    [
        NORMAL,
        NORMAL * 1e-3,
        np.zeros((3, 4), np.float32),
        np.zeros((0, 4), np.float32),
        np.float32(1e-5),
        np.float32(65504),
        # Small numbers beside large ones: what the sum of both loses is nothing.
        np.where(NORMAL > 2, NORMAL, NORMAL * 1e-9) + np.eye(8, 16, dtype=np.float32),
        # A channel that does nothing beside the others.
        with_row(3, 1e-12),
    ],
)
def test_what_float16_holds(data):
    assert beyond_half("c", np.asarray(data, np.float32)) == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (np.float32(65520), "passes 65504"),
        (np.float32(-1e6), "passes 65504"),
        (np.float32(np.inf), "passes 65504"),
        (np.float32(np.nan), "passes 65504"),
        (np.float32(1e-12), "constant 1e-12 is lost"),
        (np.float32(1e-30), "is lost"),
        (NORMAL * 1e-7, "small numbers of its constant 'c' are lost"),
        # One channel, in rows or in columns, that has nothing but small numbers.
        (with_row(3, 1e-2) * 1e-4, "are lost"),
        (with_row(3, 1e-2).T * np.float32(1e-4), "are lost"),
    ],
)
def test_what_float16_does_not_hold(data, said):
    assert said in beyond_half("c", np.asarray(data, np.float32))


def test_rounding_moves_no_8_bit_integer_by_more_than_half_a_step():
    scales = np.geomspace(1e-7, 7e4, 4001).astype(np.float32)
    fit = np.array([not scales_beyond_half(each) for each in scales[:, None]])
    with np.errstate(over="ignore"):
        narrow = scales.astype(np.float16).astype(np.float64)
    off = np.abs(127 * (narrow / scales - 1.0))
    assert (fit == (off <= 0.5 + 1e-6)).all()
    assert fit[(scales > 1e-5) & (scales < 6e4)].all()
    assert not fit[scales < 1e-6].all()
