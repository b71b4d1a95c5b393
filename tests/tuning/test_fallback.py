"""Layers are left float for accuracy as long as it pays."""

from dataclasses import dataclass, field

import pytest

from edgeq.quantization.plan import NodeDecision, NodeForm, QuantPlan
from edgeq.tuning import fallback
from edgeq.tuning.candidate import Choice
from edgeq.tuning.fallback import RESCUE_DB, leave_float

MACS = {"heavy": 600, "middle": 399, "gate": 1}


@dataclass
class Built:
    """A candidate of which only the outcome is known."""

    choice: Choice
    sqnr_db: float
    plan: QuantPlan
    model: object = None

    @property
    def typical_db(self):
        return self.sqnr_db


@dataclass
class Outcomes:
    """A workshop that knows what leaving layers float brings."""

    start_db: float
    gains: dict
    prepared: object = None
    samples: tuple = ()
    tried: list = field(default_factory=list)

    def confirm(self, candidate):
        return candidate

    def build(self, choice):
        self.tried.append(frozenset(choice.excluded))
        gain = sum(self.gains.get(name, 0.0) for name in choice.excluded)
        return Built(choice, self.start_db + gain, plan(choice.excluded))


def plan(excluded=()):
    return QuantPlan(
        decisions=tuple(
            NodeDecision(name, "Conv", NodeForm.FLOAT if name in excluded else NodeForm.STATIC)
            for name in MACS
        )
    )


@pytest.fixture(autouse=True)
def _ranking(monkeypatch):
    monkeypatch.setattr(fallback, "_ranked", lambda workshop, start: ["middle", "heavy"])


def left_float(start_db, **gains):
    shop = Outcomes(start_db, gains)
    found = leave_float(shop, Built(Choice(("minmax",)), start_db, plan()), MACS, 20.0)
    return set(found.best.choice.excluded)


def test_a_layer_that_holds_no_arithmetic_is_given_up_for_little():
    assert left_float(18.0, gate=0.7) == {"gate"}


def test_a_heavy_layer_is_kept_where_it_would_bring_little():
    assert left_float(18.0, middle=1.5) == set()


def test_a_heavy_layer_is_given_up_where_it_brings_much():
    assert left_float(18.0, middle=6.0) == {"middle"}


def test_a_result_that_is_no_use_is_bettered_at_any_price():
    assert left_float(RESCUE_DB - 8.0, middle=2.0) == {"middle"}


def test_some_layer_always_stays_in_integers():
    assert left_float(-5.0, gate=3.0, middle=3.0, heavy=3.0) < set(MACS)
