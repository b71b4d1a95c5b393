"""What a calibration table says of its values: which ones suffer in int8, and why."""

import io

import numpy as np
import pytest
from rich.console import Console

from edgeq.calibration import StatisticKind, Statistics
from edgeq.calibration.channels import ChannelLayout
from edgeq.calibration.collection import Collection
from edgeq.calibration.kept import KeptSamples
from edgeq.calibration.manifest import Facts
from edgeq.calibration.origin import Draw, Origin, ValueNote
from edgeq.calibration.table import CalibrationTable
from edgeq.errors import RecipeError
from edgeq.report.calibration import ChannelFacts, described, document, facts
from edgeq.report.calibration_terminal import PLAIN_BLOCKS, bars, render, summary

NUMBERS = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
OUTLIERS = NUMBERS.copy()
OUTLIERS[:5] = 200.0
VALUES = {
    "plain": NUMBERS,
    "relu": np.maximum(NUMBERS, 0),
    "outliers": OUTLIERS,
    "dead": np.zeros(10, np.float32),
    "constant": np.full(10, 2.5, np.float32),
    "sparse": np.where(np.arange(20_000) % 50 == 0, NUMBERS, 0).astype(np.float32),
    "unseen": np.zeros(0, np.float32),
    "markup[red]": NUMBERS,
}


def table(symmetric=False):
    statistics = {}
    for name, array in VALUES.items():
        statistics[name] = Statistics(frozenset(StatisticKind))
        statistics[name].update(0, array)
    names = [*VALUES, "infinite"]
    notes = [ValueNote(name, "Conv", ("Relu",), "uint8", symmetric) for name in names]
    known = Facts(
        Origin("ab" * 32, "1:" + "cd" * 32, (), "cpu", ("head",), (), ()),
        Draw("ef" * 32, None, None, 0),
        tuple(notes), (0,), 1, "a list", ("assumed",), {"edgeq": ("1",)},
    )  # fmt: skip
    indices = np.zeros(1, np.int32)
    found = Collection(statistics, frozenset({"infinite"}), KeptSamples(), indices)
    return CalibrationTable(known, found, (), True)


@pytest.fixture(scope="module")
def values():
    return {each.name: each for each in described(table())}


def shown(view):
    console = Console(file=io.StringIO(), width=100)
    console.print(view)
    return console.file.getvalue()


def test_numbers_are_those_of_the_statistics(values):
    plain = values["plain"]
    assert plain.count == 20_000
    assert (plain.minimum, plain.maximum) == (NUMBERS.min(), NUMBERS.max())
    assert sum(plain.bars) == 20_000
    assert values["relu"].zero_fraction == pytest.approx(0.5, abs=0.02)
    assert plain.producer == "Conv"


def test_the_outlier_ratio_is_that_to_the_bulk(values):
    bulk = np.quantile(np.abs(NUMBERS), 0.999)
    assert values["plain"].outlier_ratio == pytest.approx(np.abs(NUMBERS).max() / bulk, rel=0.02)
    assert values["outliers"].outlier_ratio == pytest.approx(200 / bulk, rel=0.05)
    assert values["dead"].outlier_ratio is None


def test_remarks_say_what_will_suffer(values):
    assert values["plain"].notes == ()
    assert values["relu"].notes == ("one-sided",)
    assert values["outliers"].notes[0].startswith("outliers: the range is 6")
    assert values["dead"].notes == ("always zero: dead",)
    assert values["constant"].notes == ("always 2.5: constant",)
    assert values["sparse"].notes == ("mostly zero",)
    assert values["unseen"].notes == ("no sample computed it",)
    assert values["infinite"].notes[0].startswith("NaN or infinite")
    assert {name for name, each in values.items() if each.suffers} == {"outliers", "infinite"}


def test_a_symmetric_type_wastes_a_bit_on_one_side():
    found = {each.name: each for each in described(table(symmetric=True))}
    assert found["relu"].notes == ("one-sided: a symmetric type wastes a bit",)


def test_patterns_choose_values_and_show_ranges():
    (found,) = described(table(), "out*")
    assert found.name == "outliers"
    assert found.ranges["minmax"] == (found.minimum, found.maximum)
    assert set(found.ranges) >= {"minmax", "percentile", "entropy", "mse", "moving-average"}
    assert [each.name for each in described(table(), "markup[red]")] == ["markup[red]"]
    with pytest.raises(RecipeError, match="Did you mean 'outliers'"):
        described(table(), "outlier")


def test_the_document_lists_what_is_unusable():
    found = document(table())
    assert found["not_finite"] == ["infinite"]
    assert found["not_computed"] == ["unseen"]
    assert len(found["values"]) == found["value_count"] == 9
    assert facts(table())["exclude"] == ["head"]


def test_the_view_names_the_worst_and_takes_no_markup():
    text = shown(render(table()))
    assert "outliers: outliers: the range is" in " ".join(text.split())
    assert "markup[red]" in text
    assert "infinite" in text
    assert "dead: always zero: dead" in text


def test_the_summary_warns():
    text = shown(summary(table()))
    assert "infinite: NaN or infinite in some sample" in text
    assert "unseen: no sample computes it" in text
    assert "assumed" in text


def test_bars_show_few_elements_and_none_differently():
    assert bars([0, 1, 1000, 500]) == " ▁█▄"
    assert bars([0, 1, 1000], PLAIN_BLOCKS) == " .@"
    assert bars([]) == ""
    assert bars([0, 0]) == "  "


def test_channels_are_told():
    made = table()
    seen = Statistics(frozenset(StatisticKind), layout=ChannelLayout(1, 2, 4))
    seen.update(0, np.float32([[0, 0, 3, -8], [0, 1, 4, 8]]))
    made.collection.statistics["plain"] = seen
    found = {each.name: each.channels for each in described(made)}
    assert found["plain"] == ChannelFacts(1, 4, (0,), 16.0)
    assert found["relu"] is None
    assert document(made)["values"][0]["channels"] == {
        "axis": 1, "count": 4, "dead": (0,), "widest": 16.0,
    }  # fmt: skip
    assert "dead channels (--channels lists them): plain 1 of 4" in shown(render(made))
    listed = shown(render(made, channels=True))
    assert "16.0x" in listed
    assert "widest" in listed
    assert "dead channels" not in shown(render(table()))


def test_channels_that_are_all_dead_have_no_widest():
    made = table()
    seen = Statistics(frozenset(StatisticKind), layout=ChannelLayout(1, 2, 2))
    seen.update(0, np.float32([[1, 2], [1, 2]]))
    made.collection.statistics["plain"] = seen
    assert described(made)[0].channels == ChannelFacts(1, 2, (0, 1), None)
