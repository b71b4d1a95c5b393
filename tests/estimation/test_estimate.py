"""Work held against boards."""

import models
import pytest

import edgeq
from edgeq.errors import DataError, RecipeError
from edgeq.estimation.estimate import estimate
from edgeq.estimation.work import Step, Work
from edgeq.recipe import Recipe
from edgeq.targets.board import Board, EnergyCosts, WeightMemory

COSTS = EnergyCosts({"int8": 1.0, "float32": 10.0}, 100.0, 1000.0, "a paper")
WORK = Work(
    (
        Step("a", "Conv", 5, "float32", ("x",), ("y",), 3),
        Step("b", "Tanh", 0, "", ("y",), ("z",), 0),
    ),
    {"x": 4, "y": 2, "z": 2},
    ("x",),
    ("z",),
    30,
)


def board(**given):
    return Board(**{"name": "b", "summary": "s", "weights": WeightMemory.FLASH, **given})


def test_energy_is_arithmetic_and_bytes_times_their_costs():
    found = estimate("f", WORK, board(energy=COSTS))
    assert [layer.energy_pj for layer in found.layers] == [5 * 10 + 6 * 100 + 3 * 1000, 4 * 100]
    assert found.energy_pj == 4050
    assert found.moved_bytes == 4 + 2 + 3 + 2 + 2
    assert found.macs == {"float32": 5}


def test_without_a_figure_there_is_no_energy_and_a_note_says_why():
    found = estimate("f", WORK, board(energy=EnergyCosts({"int8": 1.0}, 1.0, 1.0, "a paper")))
    assert found.energy_pj is None
    assert found.notes == ("Board b has no energy of a multiplication in float32",)
    assert estimate("f", WORK, board()).energy_pj is None


@pytest.mark.parametrize(
    ("weights", "ram"), [(WeightMemory.FLASH, 6), (WeightMemory.RAM, 36)], ids=["flash", "ram"]
)
def test_constants_count_where_they_lie(weights, ram):
    found = estimate("f", WORK, board(weights=weights, ram_bytes=ram, flash_bytes=29))
    flash, memory = found.limits
    assert (flash.needed, flash.fits) == (30, False)
    assert (memory.needed, memory.fits) == (ram, True)
    assert not found.fits


def test_what_is_foretold_is_what_the_quantized_model_has():
    recipe = Recipe(search=False)
    made = edgeq.quantize(models.conv_net(), models.images(8), recipe=recipe, validate=False)
    sizes = {"N": (2,)}
    foretold = edgeq.inspect(models.conv_net(), estimate=True, fix_shapes=sizes).estimates
    (there,) = edgeq.inspect(made.model, estimate=True, fix_shapes=sizes).estimates.forms
    plain, integers = foretold.forms
    assert integers.macs == there.macs
    assert set(integers.macs) == {"int8"}
    assert set(plain.macs) == {"float32"}
    assert integers.arena.size == there.arena.size < plain.arena.size / 2
    assert integers.moved_bytes == there.moved_bytes
    # Values whose scales happen to be equal share them.
    assert integers.limits[0].needed == pytest.approx(there.limits[0].needed, rel=0.02)
    assert not integers.notes


def test_samples_decide_on_sizes_that_the_model_leaves_open():
    by_sample = edgeq.inspect(
        models.conv_net(), estimate=True, sensitivity=False, calibration_data=models.images(1)
    )
    by_shape = edgeq.inspect(models.conv_net(), estimate=True, fix_shapes={"N": (1,)})
    assert by_sample.sensitivity is None
    assert by_sample.estimates.forms[0].layers == by_shape.estimates.forms[0].layers


def test_open_sizes_are_refused():
    with pytest.raises(RecipeError, match=r"open: image: FLOAT\[N, 3, 8, 8\].*--fix-shape"):
        edgeq.inspect(models.conv_net(), estimate=True)
    with pytest.raises(DataError, match="no samples"):
        edgeq.inspect(
            models.conv_net(), estimate=True, sensitivity=False, calibration_data=iter(())
        )
