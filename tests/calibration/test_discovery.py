"""Calibrators are found by entry point, made from text, and refused with a reason."""

import subprocess
import sys

import pytest

from edgeq.calibration import Calibrator, StatisticKind
from edgeq.calibration.discovery import create, describe, discover
from edgeq.errors import PluginError, RecipeError

BUILT_IN = ["entropy", "minmax", "moving-average", "mse", "percentile"]

SOURCE = '''
from __future__ import annotations
from edgeq.calibration import CONTRACT, StatisticKind
from edgeq.types import TensorRange

class Fraction:
    """Covers a fraction of the extrema.

    More text.
    """
    contract = CONTRACT
    requires = frozenset({StatisticKind.EXTREMA})
    source = "a test"

    def __init__(self, *, part: float = 0.5, rounds: int = 1, loud: bool = False, tag: str = "t"):
        if part == 13:
            raise ValueError("part must not be 13")
        if part == 14:
            raise OSError("disk on fire")
        self.given = (part, rounds, loud, tag)

    def range(self, statistics, spec, context):
        part = self.given[0]
        return TensorRange(part * statistics.minimum, part * statistics.maximum)
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution with one calibrator on sys.path, as an installer would leave it."""

    def run(distribution, module, source, name="fraction", attribute="Fraction"):
        folder = tmp_path / distribution
        info = folder / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
        entry = f"[edgeq.calibrators]\n{name} = {module}:{attribute}\n"
        (info / "entry_points.txt").write_text(entry)
        (folder / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return run


def test_finds_the_built_in_ones():
    assert set(BUILT_IN) <= set(discover())


@pytest.mark.parametrize("name", BUILT_IN)
def test_describes_the_built_in_ones(name):
    info = describe(name)
    assert info.name == name
    assert info.distribution == "edgeq"
    assert info.summary.endswith(".")
    assert info.source
    assert isinstance(create(name), Calibrator)


def test_finding_imports_nothing():
    code = (
        "import sys; from edgeq.calibration.discovery import discover; discover();"
        "print(*[m for m in sys.modules if m.split('.')[0] in"
        " ('edgeq_calibrators', 'onnx', 'onnxruntime', 'onnx_ir')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_plug_in_works_like_a_built_in(install):
    install("a_plugin", "a_plugin_module", SOURCE)
    assert describe("fraction").parameters == (
        ("part", 0.5, "float"),
        ("rounds", 1, "int"),
        ("loud", False, "bool"),
        ("tag", "t", "str"),
    )
    assert describe("fraction").summary == "Covers a fraction of the extrema."
    assert describe("fraction").distribution == "a_plugin"
    made = create("fraction:part=0.25, rounds=3,loud=yes,tag=x=y")
    assert made.given == (0.25, 3, True, "x=y")
    assert made.requires == {StatisticKind.EXTREMA}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("percentil", "Did you mean 'percentile'"),
        ("percentile:levle=9", "Did you mean 'level'"),
        ("percentile:level=high", "level takes float, not 'high'"),
        ("percentile:level", "not of the form key=value"),
        ("percentile:level=99,level=98", "given twice"),
        ("percentile:level=3", "level must be 0 or in"),
        ("minmax:level=3", "takes no parameters"),
        ("auto", "policy"),
        ("fraction:loud=maybe", "loud takes bool"),
        ("fraction:rounds=1.5", "rounds takes int"),
        ("fraction:part=13", "part must not be 13"),
    ],
)
def test_a_users_mistake_says_what_to_write_instead(install, text, message):
    install("a_plugin", "a_plugin_module", SOURCE)
    with pytest.raises(RecipeError, match=message):
        create(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("import CONTRACT", "import NOTHING", "cannot be imported"),
        ("class Fraction", "class Other", "cannot be imported"),
        ("contract = CONTRACT", "contract = 99", "contract 99, this edgeq has 1"),
        ("contract = CONTRACT", "", "contract None"),
        ("requires = frozenset({StatisticKind.EXTREMA})", "requires = {1}", "frozenset"),
        ('source = "a test"', 'source = ""', "'source'"),
        ("def range", "def reach", "no method 'range'"),
        ("self, *, part", "self, part", "keyword-only"),
        ("part: float = 0.5", "part: float", "needs a default"),
        ("part: float = 0.5", "part: list = ()", "must be annotated"),
    ],
)
def test_a_faulty_plug_in_is_named_with_its_distribution(install, old, new, message):
    assert old in SOURCE
    install("bad_plugin", "bad_plugin_module", SOURCE.replace(old, new))
    with pytest.raises(PluginError, match=message) as caught:
        create("fraction")
    assert "bad_plugin" in str(caught.value)
    assert create("minmax") is not None


def test_what_is_no_class_is_refused(install):
    install("bad_plugin", "bad_plugin_module", "Fraction = 3\n")
    with pytest.raises(PluginError, match="not a class"):
        describe("fraction")


def test_a_failing_constructor_is_the_plug_ins_fault(install):
    install("a_plugin", "a_plugin_module", SOURCE)
    with pytest.raises(PluginError, match="disk on fire"):
        create("fraction:part=14")


def test_two_plug_ins_of_one_name_are_both_named(install):
    install("one_plugin", "one_module", SOURCE)
    install("two_plugin", "two_module", SOURCE)
    with pytest.raises(PluginError, match="one_plugin") as caught:
        discover()
    assert "two_plugin" in str(caught.value)


def test_the_name_of_the_policy_is_reserved(install):
    install("bad_plugin", "bad_plugin_module", SOURCE, name="auto")
    with pytest.raises(PluginError, match=r"bad_plugin.*reserved"):
        discover()
