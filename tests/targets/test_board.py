"""Boards: those that come with edgeq, files of users, and how mistakes in them are told."""

import re
from pathlib import Path

import pytest

from edgeq.errors import RecipeError
from edgeq.targets.board import GENERIC, PRECISIONS, WeightMemory, board_named, boards

DOCUMENT = Path(__file__).parents[2] / "docs" / "estimate.md"
GOOD = """
summary = "my board"
weights = "flash"
flash_bytes = 1000
sources = ["its data sheet"]
[energy]
activation_byte = 1
weight_byte = 2.5
source = "a paper"
mac.int8 = 0.3
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
        return board_named(str(tmp_path / "mine.toml"))

    return read


def test_the_boards_of_edgeq_say_where_their_figures_come_from():
    found = boards()
    assert GENERIC in {board.name for board in found}
    for board in found:
        limited = board.ram_bytes is not None or board.flash_bytes is not None
        assert bool(board.sources) == limited
        assert board.energy is not None
        assert "ISSCC 2014" in board.energy.source
        assert set(board.energy.mac) == set(PRECISIONS)
        assert board_named(board.name) == board


def test_a_file_of_a_user_is_read(read):
    board = read(GOOD)
    assert (board.name, board.flash_bytes, board.ram_bytes) == ("mine", 1000, None)
    assert board.weights is WeightMemory.FLASH
    assert (board.energy.mac, board.energy.weight_byte) == ({"int8": 0.3}, 2.5)
    assert read('name = "n"\nsummary = "s"\nweights = "ram"').energy is None


def test_the_example_of_the_documentation_is_read(read):
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    board = read(example)
    assert board.ram_bytes == 524_288
    assert board.energy.mac == board_named("stm32h743").energy.mac


def test_the_documentation_names_every_board():
    told = DOCUMENT.read_text(encoding="utf-8")
    assert all(f"`{board.name}`" in told for board in boards())


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("flash_bytes", "flash_byte", ("unknown key 'flash_byte'", "'flash_bytes'")),
        ("= 1000", "= -1", ("flash_bytes: -1 is no whole number above 0",)),
        ("= 1000", "= true", ("flash_bytes",)),
        ('weights = "flash"', "", ("'weights' is missing",)),
        ('"flash"', '"flesh"', ("unknown 'flesh'", "Did you mean 'flash'?")),
        ("weight_byte = 2.5", "", ("energy: 'weight_byte' is missing",)),
        ("weight_byte = 2.5", "weight_byte = nan", ("nan is no finite number",)),
        ("weight_byte = 2.5", 'weight_byte = "x"', ("'x' is no number",)),
        ("mac.int8 = 0.3", "mac.int8 = -0.3", ("energy: mac.int8", "from 0 on")),
        ("mac.int8", "mac.int9", ("unknown key 'int9'", "'int8'")),
        ("mac.int8 = 0.3", "mac = 3", ("energy: mac: 3 is no table",)),
        ('["its data sheet"]', '"its data sheet"', ("sources", "no list")),
        ("summary", "summary = ", ("not a TOML file",)),
    ],
)
def test_mistakes_name_the_file_and_the_key(read, old, new, parts):
    assert old in GOOD
    with pytest.raises(RecipeError) as told:
        read(GOOD.replace(old, new))
    assert "mine.toml" in told.value.where
    for part in parts:
        assert part in str(told.value)


def test_a_board_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(RecipeError, match="Did you mean 'nrf52840'"):
        board_named("nrf52480")
    with pytest.raises(RecipeError, match=r"cannot read the board.*edgeq list boards"):
        board_named(str(tmp_path / "none.toml"))
