"""Blocks of a matrix: what integers stand for, and how they are packed."""

import graphs
import numpy as np
import pytest

from edgeq.errors import RecipeError
from edgeq.weight_only.blocks import BlockGrid, BlockMatrix, BlockSpec, in_blocks, stored_bytes
from edgeq.weight_only.nearest import covering_grid
from edgeq.weight_only.packing import packed, packed_codes, packed_zero_points, unpacked


def test_integers_stand_for_scale_times_distance_from_the_zero_point():
    grid = BlockGrid(BlockSpec(4, 16), np.full((1, 1), 0.5, np.float32), np.full((1, 1), 3.0))
    codes = grid.codes(np.full((1, 1, 16), 1.7, np.float32))
    assert codes.tolist() == [[[6] * 16]]
    assert grid.reals(codes)[0, 0, 0] == 1.5


def test_numbers_beyond_the_grid_take_its_ends():
    grid = BlockGrid(BlockSpec(2, 16), np.ones((1, 1), np.float32), np.ones((1, 1), np.float32))
    rows = np.asarray([[[-9.0, 9.0] * 8]], np.float32)
    assert grid.codes(rows)[0, 0, :2].tolist() == [0, 3]


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("symmetric", [False, True])
def test_every_weight_is_within_a_step_of_what_it_becomes(bits, symmetric):
    weights = graphs.numbers(0, 12, 50)
    spec = BlockSpec(bits, 16, symmetric)
    rows = in_blocks(weights, 16)
    grid = covering_grid(rows, spec)
    stored = BlockMatrix(grid, grid.codes(rows), 50)
    assert stored.real().shape == (12, 50)
    step = np.repeat(np.abs(grid.scale), 16, axis=1)[:, :50]
    # Symmetric blocks have one integer less on the side away from their greatest weight.
    assert np.all(np.abs(stored.real() - weights) <= (1.001 if symmetric else 0.501) * step)


def test_a_block_of_zeros_stays_zero():
    rows = np.zeros((1, 2, 16), np.float32)
    rows[0, 1] = 1.0
    grid = covering_grid(rows, BlockSpec(4, 16))
    assert np.array_equal(grid.reals(grid.codes(rows)), rows)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_packing_keeps_every_integer_and_starts_in_the_lowest_bits(bits):
    codes = np.random.default_rng(0).integers(0, 1 << bits, (3, 7)).astype(np.uint8)
    data = packed(codes, bits)
    assert data.shape == (3, -(-7 * bits // 8))
    assert np.array_equal(unpacked(data, bits, 7), codes)
    assert np.array_equal(data[:, 0] & ((1 << bits) - 1), codes[:, 0])


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_size_that_is_told_is_the_size_that_is_stored(bits, symmetric):
    spec = BlockSpec(bits, 16, symmetric)
    rows = in_blocks(graphs.numbers(0, 5, 40), 16)
    grid = covering_grid(rows, spec)
    matrix = BlockMatrix(grid, grid.codes(rows), 40)
    parts = [packed_codes(matrix), grid.scale, packed_zero_points(matrix)]
    assert stored_bytes(spec, 5, 40) == sum(part.nbytes for part in parts if part is not None)


@pytest.mark.parametrize(("bits", "size"), [(3, 32), (4, 48), (4, 8)])
def test_what_no_operator_reads_is_refused(bits, size):
    with pytest.raises(RecipeError, match="cannot be stored"):
        BlockSpec(bits, size)
