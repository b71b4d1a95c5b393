"""What a recipe promises: every choice counts, and a wrong one is told."""

from __future__ import annotations

import pytest

from edgeq.errors import RecipeError
from edgeq.recipe import Recipe, load_recipe, recipe_text

NODES = [("/block.0/conv[1]", "Conv"), ("/head/fc", "Gemm")]


def test_brackets_in_node_names_are_taken_literally():
    recipe = Recipe(exclude=("/block.0/conv[1]",))
    assert recipe.excludes("/block.0/conv[1]", "Conv")
    assert not recipe.excludes("/block.0/conv1", "Conv")


def test_stars_match_names_and_operators():
    assert Recipe(exclude=("/block.*",)).excludes("/block.0/conv[1]", "Conv")
    assert Recipe(exclude=("Gem?",)).excludes("/head/fc", "Gemm")


def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_name():
    with pytest.raises(RecipeError, match=r"/head/fd.*Did you mean '/head/fc'"):
        Recipe(exclude=("/head/fd",)).require_matches(NODES)


def test_patterns_that_match_are_accepted():
    Recipe(exclude=("/head/*",), include=("Conv",)).require_matches(NODES)


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('calibrater = "mse"')
    with pytest.raises(RecipeError, match=r"calibrater.*Did you mean 'calibrator'"):
        load_recipe(path)


@pytest.mark.parametrize(
    "text",
    [
        "exclude = 1",
        "calibrator = []",
        "exclude = [1]",
        'weights = "best"',
        "= broken",
        "seed = -1",
        "seed = true",
        'seed = "1"',
    ],
)
def test_a_wrong_type_is_refused(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError):
        load_recipe(path)


def test_a_recipe_file_sets_what_it_names_and_nothing_else(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('calibrator = "percentile:level=99.9"\nexclude = ["Softmax"]')
    assert load_recipe(path) == Recipe("percentile:level=99.9", ("Softmax",))


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(calibrator="percentile:level=99.9", steps=("bias",), search=False),
        Recipe(left_float=("Conv", "a*b?"), search=False, seed=0),
        Recipe(exclude=('a"b\\c', "tab\there", "del\x7f", "é/[0]"), skip_steps=("round",)),
    ],
)
def test_a_recipe_that_is_written_is_read_as_it_was(recipe, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(recipe, ("of model.onnx", "two\nlines")), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_search_is_true_or_false(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('search = "no"')
    with pytest.raises(RecipeError, match="must be true or false"):
        load_recipe(path)


def test_what_matches_nothing_that_is_left_is_told_apart():
    recipe = Recipe(exclude=("Conv", "/merged"), include=("gone*",))
    assert recipe.without_effect(NODES) == ("/merged", "gone*")
