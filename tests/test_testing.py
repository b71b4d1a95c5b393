"""The conformance suite passes what is sound, and says precisely what is not."""

import itertools
import subprocess
import sys

import pytest

from edgeq.calibration import CONTRACT, CalibrationContext, StatisticKind, Statistics
from edgeq.calibration.discovery import create, describe
from edgeq.errors import PluginError
from edgeq.testing import check_calibrator, distributions
from edgeq.types import QuantSpec, QuantType, TensorRange

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "edgeq-inner-half"
version = "1.0"

[project.entry-points."edgeq.calibrators"]
inner-half = "inner_half:InnerHalf"

[tool.hatch.build.targets.wheel]
include = ["inner_half.py"]
"""

MODULE = '''
from dataclasses import dataclass
from typing import ClassVar

from edgeq.calibration import CONTRACT, CalibrationContext, StatisticKind, Statistics
from edgeq.types import QuantSpec, TensorRange


@dataclass(frozen=True, kw_only=True)
class InnerHalf:
    """Covers the inner part of the extrema."""

    part: float = 0.5

    contract: ClassVar[int] = CONTRACT
    requires: ClassVar[frozenset[StatisticKind]] = frozenset({StatisticKind.EXTREMA})
    source: ClassVar[str] = "a test of edgeq"

    def range(
        self, statistics: Statistics, spec: QuantSpec, context: CalibrationContext
    ) -> TensorRange:
        return TensorRange(*sorted(self.part * b for b in (statistics.minimum, statistics.maximum)))
'''


class Sound:
    contract = CONTRACT
    requires = frozenset({StatisticKind.EXTREMA})
    source = "a test"

    def range(self, statistics, spec, context):
        return TensorRange(statistics.minimum, statistics.maximum)


@pytest.mark.parametrize(
    "name",
    [
        "minmax",
        "moving-average",
        "moving-average:momentum=0",
        "percentile",
        "percentile:level=60",
        "entropy",
        "entropy:bins=64,levels=16",
        "mse",
    ],
)
def test_the_built_in_calibrators_conform(name):
    check_calibrator(name)


def test_takes_classes_and_instances():
    check_calibrator(Sound)
    check_calibrator(Sound())


def test_a_third_party_calibrator_installed_by_pip_works_like_a_built_in(tmp_path, monkeypatch):
    pytest.importorskip("hatchling")
    pytest.importorskip("pip")
    project, site = tmp_path / "project", tmp_path / "site"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "inner_half.py").write_text(MODULE)
    flags = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    flags += ["--disable-pip-version-check", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, str(project)], check=True)
    monkeypatch.syspath_prepend(site)
    info = describe("inner-half")
    assert (info.distribution, info.parameters) == ("edgeq-inner-half", (("part", 0.5, "float"),))
    check_calibrator("inner-half")
    made = create("inner-half:part=0.25")
    check_calibrator(made)
    statistics = Statistics(made.requires)
    statistics.update(0, distributions()["two-valued"][0])
    found = made.range(
        statistics, QuantSpec(QuantType.UINT8), CalibrationContext("value", None, ())
    )
    assert found == TensorRange(-0.25, 0.25)


class Undeclared(Sound):
    def range(self, statistics, spec, context):
        return TensorRange(0.0, statistics.histogram.quantile(1.0))


class TooWide(Sound):
    def range(self, statistics, spec, context):
        return TensorRange(2 * statistics.minimum - 1, 2 * statistics.maximum + 1)


class Fickle(Sound):
    calls = itertools.count()

    def range(self, statistics, spec, context):
        part = 1.0 - 1e-3 * (next(self.calls) % 5)
        return TensorRange(part * statistics.minimum - 0.0, statistics.maximum)


class Meddling(Sound):
    def range(self, statistics, spec, context):
        found = super().range(statistics, spec, context)
        statistics.count += 1
        return found


class OrderBound(Sound):
    requires = frozenset({StatisticKind.SAMPLE_EXTREMA})

    def range(self, statistics, spec, context):
        high = statistics.maximum
        first = int(statistics._records["index"][0])
        return TensorRange(min(0.0, high), max(0.0, high * (1.0 - 0.1 * first)))


class Inverted(Sound):
    def range(self, statistics, spec, context):
        return TensorRange(statistics.maximum, statistics.minimum)


class Tuple(Sound):
    def range(self, statistics, spec, context):
        return statistics.minimum, statistics.maximum


class Guessing(Sound):
    def range(self, statistics, spec, context):
        return TensorRange(statistics.minimum, statistics.maximum) if statistics.count else (0, 1)


class Crashing(Sound):
    def range(self, statistics, spec, context):
        _ = 1.0 / statistics.maximum
        return super().range(statistics, spec, context)


class Old(Sound):
    contract = 0


class Needy(Sound):
    def __init__(self, *, part):
        self.part = part


class Failing(Sound):
    def __init__(self, *, part: float = 0.0):
        raise OSError(part)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Undeclared, r"HISTOGRAM"),
        (TooWide, r"beyond what was observed"),
        (Fickle, r"differs from call to call"),
        (Meddling, r"changes the statistics"),
        (OrderBound, r"order in which shards were merged"),
        (Inverted, r"not a range"),
        (Tuple, r"not a TensorRange"),
        (Guessing, r"when nothing was observed"),
        (Crashing, r"all-zero data.*ZeroDivisionError"),
        (Old, r"contract 0, this edgeq has 1"),
        (Needy, r"'part' needs a default"),
        (Failing, r"cannot be made without arguments"),
    ],
)
def test_each_violation_is_named(cls, message):
    with pytest.raises(PluginError, match=message) as caught:
        check_calibrator(cls)
    assert cls.__name__ in str(caught.value)


def test_a_documented_reason_lets_a_range_exceed_the_extrema():
    check_calibrator(TooWide, may_exceed_extrema=True)
