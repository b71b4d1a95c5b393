"""A reference names one Python object, and importing it disturbs nothing else."""

import sys

import pytest

from edgeq.errors import RecipeError
from edgeq.references import is_reference, parse_reference


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("json:dumps", True),
        ("os.path:join", True),
        ("load.py:samples", True),
        ("dir/load.py:Class.method", True),
        (r"C:\data\load.py:samples", True),
        (r"C:\data", False),
        ("C:/data/load.py", False),
        ("load.py", False),
        ("load.py:", False),
        (":samples", False),
        ("a/b:samples", False),
        ("load.py:1st", False),
    ],
)
def test_the_last_colon_decides(text, wanted):
    assert is_reference(text) is wanted


def test_a_module_is_imported():
    assert parse_reference("os.path:join") is __import__("os").path.join


def test_a_module_in_the_working_directory_is_found(tmp_path, monkeypatch):
    (tmp_path / "module_found_here.py").write_text("x = 3")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert parse_reference("module_found_here:x") == 3
    assert sys.path == path


def test_a_file_is_loaded_under_a_name_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass\nclass A:\n    x: 'int' = 3\n"
        "    def get(self):\n        return self.x\n"
    )
    monkeypatch.chdir(tmp_path)
    before, path = sys.modules["json"], list(sys.path)
    assert parse_reference("json.py:A")().x == 3
    assert callable(parse_reference("./json.py:A.get"))
    assert sys.modules["json"] is before
    assert sys.path == path


def test_two_files_of_one_name_are_two_modules(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "load.py").write_text(f"x = {name!r}")
    assert [parse_reference(f"{tmp_path / n / 'load.py'}:x") for n in "ab"] == ["a", "b"]


def test_a_file_beside_it_that_hides_the_standard_library_does_not(tmp_path):
    (tmp_path / "colorsys.py").write_text("raise ValueError")
    (tmp_path / "load.py").write_text("import colorsys\nx = colorsys.rgb_to_hsv")
    assert callable(parse_reference(f"{tmp_path / 'load.py'}:x"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "not a reference.*FILE.py:name"),
        ("missing.py:x", "there is no file 'missing.py'.*working directory"),
        ("json:dumpss", "there is no 'dumpss'.*'dumps'"),
        ("no_such_module_at_all:x", "ModuleNotFoundError: No module named"),
    ],
)
def test_a_reference_that_leads_nowhere_says_where_it_ends(text, said):
    with pytest.raises(RecipeError, match=said):
        parse_reference(text)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 +", "SyntaxError"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("import no_such_thing", "No module named 'no_such_thing'"),
    ],
)
def test_a_file_that_fails_is_told_in_one_line_and_forgotten(tmp_path, code, said):
    (tmp_path / "broken.py").write_text(code)
    before = set(sys.modules)
    with pytest.raises(RecipeError, match=said):
        parse_reference(f"{tmp_path / 'broken.py'}:x")
    assert not [name for name in set(sys.modules) - before if name.endswith("_broken")]


def test_an_empty_file_is_said_to_have_no_names(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(RecipeError, match="no public names"):
        parse_reference(f"{tmp_path / 'empty.py'}:x")
