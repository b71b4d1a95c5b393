"""A budget is kept with as little float as possible, in few trials, or said to be out of reach."""

from dataclasses import dataclass

import pytest

from edgeq.quantization.plan import NodeForm
from edgeq.recipe import Recipe
from edgeq.tuning import budget
from edgeq.tuning.budget import Limits, keep_budget
from edgeq.tuning.candidate import Choice
from edgeq.tuning.moves import Standing
from edgeq.validation.verdict import Score

LAYERS = tuple(f"layer{number}" for number in range(12))


@dataclass
class Decision:
    form: NodeForm


@dataclass
class Decided:
    decisions: dict


@dataclass
class Built:
    choice: Choice
    sqnr_db: float = 20.0


class Shop:
    """Builds candidates of which only the choice matters."""

    recipe = Recipe()

    def __init__(self):
        self.built = []

    def build(self, choice, *, like, from_all):
        self.built.append(tuple(choice.excluded))
        return Built(choice)

    def applies(self, step, candidate):
        return False

    def annotations(self, start, further):
        forms = {n: NodeForm.FLOAT if n in further else NodeForm.STATIC for n in LAYERS}
        return Decided({name: Decision(form) for name, form in forms.items()})


@dataclass
class Ladder:
    """Layers in the order of their names, each at the same price."""

    layers: list

    def ladder(self, limit):
        return (self.standing(self.layers[: count + 1]) for count in range(len(self.layers)))

    def standing(self, excluded):
        return Standing(tuple(excluded), len(excluded) / 20, len(excluded) / len(LAYERS))


@pytest.fixture
def searched(monkeypatch):
    """Search where the layers named in ``needed`` have to be float for a score of 0.9.

    A run without a budget leaves those named in ``usual`` float.
    """

    def moves_of(workshop, start, prices):
        return Ladder([name for name in LAYERS if name not in start.choice.excluded])

    monkeypatch.setattr(budget, "moves_of", moves_of)

    def run(needed, allowed=0.0, lose=None, usual=(), **limits):
        def linear(left):
            return 0.01 * len(set(needed) - set(left))

        def score(candidate):
            return Score("top1", 0.9, 0.9 - (lose or linear)(candidate.choice.excluded))

        def prices():
            if not needed:
                raise AssertionError("nothing has to be given up")
            return dict.fromkeys(LAYERS, 1 / len(LAYERS))

        start = Built(Choice(("minmax",)))
        closer = Built(start.choice.with_excluded(usual, "")) if usual else start
        return keep_budget(
            Shop(), start, lambda light: closer, prices, score, lambda _, s: s.drop <= allowed,
            Limits(**limits), lambda fp32: allowed,
        )  # fmt: skip

    return run


def test_nothing_is_given_up_where_all_integers_keep_it(searched):
    found = searched(())
    assert found.chosen.met
    assert not found.best.choice.excluded
    assert len(found.trials) == 1


def test_the_lowest_rung_that_holds_is_found(searched):
    found = searched((LAYERS[4],), trials=8)
    assert found.chosen.met
    assert LAYERS[4] in found.best.choice.excluded
    assert len(found.best.choice.excluded) <= 5
    assert len(found.trials) <= 8


def test_a_score_that_falls_with_the_amplitude_of_the_noise_is_foreseen(searched):
    def lose(left):
        return 0.05 * (1 - len(left) / 20) ** 0.5

    found = searched(LAYERS, allowed=0.0401, lose=lose, trials=20)
    # 0.05 with nothing left float, 0.0403 with 7 layers, 0.0387 with 8.
    assert [trial.excluded for trial in found.trials[:3]] == [0, 8, 7]
    assert found.chosen.excluded == 8


def test_a_layer_that_is_not_needed_is_put_back(searched):
    found = searched((LAYERS[1],), trials=20)
    assert tuple(found.best.choice.excluded) == (LAYERS[1],)


def test_a_budget_that_cannot_be_kept_is_said_to_be_so_with_the_best_that_was_found(searched):
    found = searched((LAYERS[2], LAYERS[11], "elsewhere"))
    assert not found.chosen.met
    assert "No candidate keeps the budget" in found.reason
    assert "nothing else is left" in found.reason
    assert found.chosen.score.candidate == max(t.score.candidate for t in found.trials)


def test_trials_and_time_are_bounded(searched):
    few = searched((LAYERS[10], "elsewhere"), trials=2)
    assert len(few.trials) == 2
    assert "no more trials were allowed" in few.reason
    assert len(searched((LAYERS[10],), seconds=0.0).trials) == 1


def test_what_a_run_without_a_budget_leaves_float_is_tried_first(searched):
    found = searched((LAYERS[8], LAYERS[11]), usual=(LAYERS[8], LAYERS[11]))
    assert found.trials[1].met
    assert set(found.best.choice.excluded) == {LAYERS[8], LAYERS[11]}
    assert found.chosen.price == pytest.approx(2 / 12)


def test_less_than_that_is_looked_for_where_it_holds(searched):
    found = searched((LAYERS[1],), usual=LAYERS[:6], trials=20)
    assert found.trials[1].met
    assert set(found.best.choice.excluded) == {LAYERS[1]}


def test_more_than_that_is_left_float_where_it_does_not_hold(searched):
    found = searched((LAYERS[0], LAYERS[11]), usual=(LAYERS[11],), trials=20)
    assert [trial.met for trial in found.trials[:2]] == [False, False]
    assert min(trial.excluded for trial in found.trials[2:]) >= 1
    assert set(found.best.choice.excluded) == {LAYERS[0], LAYERS[11]}
    assert found.chosen.price == pytest.approx(2 / 12)
