"""Where accuracy is lost, as rows and in the terminal."""

import io
from dataclasses import replace

from rich.console import Console

from edgeq.report import sensitivity as rows
from edgeq.report.elements import paragraphs
from edgeq.report.sensitivity_terminal import all_layers, causes, decibels, parted, worst_values
from edgeq.validation.layers import LayerFidelity
from edgeq.validation.parting import Parting
from edgeq.validation.sensitivity import ValueFidelity

LAYER = LayerFidelity("conv", "Conv", 12.345, 200.0, 15.678, "outliers: [red] 3", "leave it")
VALUE = ValueFidelity("x", "Relu", 30.123, 20.456, "conv", None)
PARTING = Parting(
    "conv", "Conv", 200.0, 12.345, None, "because", "so what", (0.0, 0.5, 1.0), (4, 0), (1, 8)
)


def said(*parts, width=100, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    Console(file=file, width=width, force_terminal=False).print(paragraphs(parts))
    file.flush()
    return " ".join(file.buffer.getvalue().decode(encoding).split())


def test_rows():
    assert rows.layer_row(LAYER) == {
        "name": "conv", "op_type": "Conv", "sqnr_db": 12.35, "before_db": 200.0,
        "alone_db": 15.68, "cause": "outliers: [red] 3", "remedy": "leave it",
    }  # fmt: skip
    assert rows.layer_row(LayerFidelity("c", "Conv", 1.0, 2.0)).keys() == {
        "name", "op_type", "sqnr_db", "before_db",
    }  # fmt: skip
    assert rows.value_row(VALUE)["readers_db"] == 20.46
    assert rows.value_row(VALUE)["accumulated_db"] is None
    found = rows.parting_row(PARTING)
    assert (found["alone_db"], found["edges"], found["candidate"]) == (
        None,
        [0.0, 0.5, 1.0],
        [1, 8],
    )
    assert rows.parting_row(None) is None


def test_causes_come_with_the_worst_first_and_as_they_are_written():
    worse = replace(LAYER, name="worse", alone_db=3.0)
    told = said(causes([LAYER, worse, LayerFidelity("c", "Conv", 1.0, 2.0)]))
    assert told.index("worse") < told.index("conv 15.7 outliers: [red] 3")
    assert causes([]) is None


def test_layers_and_values():
    assert "conv Conv 200.0 12.3 15.7" in said(all_layers([LAYER], "Layers"))
    assert "alone" not in said(all_layers([LayerFidelity("c", "Conv", 1.0, 2.0)], "Layers"))
    assert "x 30.1 20.5 conv" in said(worst_values([VALUE]))
    assert "(and 2 more)" in said(worst_values([VALUE] * 12))
    assert worst_values([]) is None
    assert (decibels(None), decibels(200.0), decibels(3.14)) == ("", "exact", "3.1")


def test_the_parting_shows_both_histograms():
    told = said(parted(PARTING))
    for part in ("conv (Conv)", "reads at exact, writes at 12.3", "alone not rounded", "█", "▁"):
        assert part in told
    assert "█" not in said(parted(PARTING), encoding="ascii")
    assert "What both compute" not in said(parted(replace(PARTING, edges=())))
    assert parted(None) is None
