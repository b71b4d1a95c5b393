"""Weights of which two products can saturate: what is done about them, by measured accuracy.

For machines that always saturate no such pair is left. For a target that some of them belong to,
scales are raised where that costs little; where it costs more, weights keep their 8 bits, and the
report warns (:mod:`edgeq.validation.advice`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.errors import RecipeError
from edgeq.quantization.pairs import PairForm
from edgeq.targets import PairSums

if TYPE_CHECKING:
    from edgeq.recipe import Recipe
    from edgeq.targets import TargetProfile
    from edgeq.tuning.candidate import Candidate
    from edgeq.tuning.workshop import Workshop

ALLOWED_DB = 0.5
"""What raised scales may cost: an eighth more noise. With 1.4 dB on efficientnet_lite0, 2 of 103
pictures of the evaluation set changed their class (measured)."""


def first_form(recipe: Recipe, target: TargetProfile) -> PairForm:
    """How a search begins.

    Raises:
        RecipeError: The recipe asks for what the target never does.
    """
    always = target.pair_sums is PairSums.ALL
    if recipe.pairs == "auto":
        return PairForm.NARROW if always else PairForm.FULL
    form = PairForm(recipe.pairs)
    if always and form is PairForm.FULL:
        raise RecipeError(
            f"on target {target.name} no weights may saturate",
            where="pairs",
            remedy='Write pairs = "narrow" or "unsigned", or choose target cpu',
        )
    return form


def settle_pairs(workshop: Workshop, best: Candidate) -> tuple[Candidate, str | None]:
    """Choose what is done about pairs, all else as it was found.

    Args:
        workshop: Builds and measures.
        best: What the search found, in the form in which it began.

    Returns:
        That candidate or one in another form, and what was done in a sentence.
    """
    layers = len({note.node for note in best.plan.pairs})
    if not layers or workshop.recipe.pairs != "auto":
        return best, None
    if best.choice.pairs is PairForm.NARROW:
        full = _in_form(workshop, best, PairForm.UNSIGNED)
        if _allowed(best, full):
            return best, _said(layers, best, full)
        return full, (
            f"The weights of {layers} layers are uint8, so that no sum of two products saturates "
            f"on x86 without VNNI: {full.typical_db:.1f} dB against {best.typical_db:.1f} with "
            "int8 and raised scales"
        )
    narrow = _in_form(workshop, best, PairForm.NARROW)
    return (narrow, _said(layers, narrow, best)) if _allowed(narrow, best) else (best, None)


def _in_form(workshop: Workshop, candidate: Candidate, form: PairForm) -> Candidate:
    return workshop.build(replace(candidate.choice, pairs=form), like=candidate)


def _allowed(narrow: Candidate, full: Candidate) -> bool:
    """Whether raised scales cost little, or nothing that matters."""
    if narrow.is_close:
        return True
    worst = narrow.sqnr_db >= full.sqnr_db - 2 * ALLOWED_DB
    return worst and narrow.typical_db >= full.typical_db - ALLOWED_DB


def _said(layers: int, narrow: Candidate, full: Candidate) -> str:
    return (
        f"The scales of the weights of {layers} layers are raised, so that no sum of two products "
        f"saturates on x86 without VNNI: {narrow.typical_db:.1f} dB against {full.typical_db:.1f}"
    )
