"""Why a layer loses accuracy in integers: from figures to a sentence and a remedy. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edgeq.metrics.fidelity import MAX_DB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeq.validation.figures import ValueFigures, WeightFigures

INHERITED: Final = "inherited"
"""Kind of the cause that lies before the layer."""

INHERITED_DB = 3.0
"""So much better alone than what it reads: more than half of its error came from before."""

CUT = 0.5
"""Fraction of a value's error that comes from cutting, from which on cutting is the cause."""

CHANNELS = 30.0
"""Ratio of channels (or rows) from which the smaller ones have 8 steps left, 3 bits of 8."""

OUTLIERS = 4.0
"""Ratio of the largest magnitude to that of all but 0.1 %, which costs two bits."""

FEW_STEPS = 4.0
"""Root mean square of a value in steps, under which rounding leaves a tenth and more of an error
(20 dB: step / sqrt(12) against 3 steps)."""

CANCELS_DB = 6.0
"""So much worse is what a node makes of a value than the rounded value itself."""

WEIGHT_SPREAD = 12.0
"""Largest weight of a channel over its root mean square; 4 is usual of a normal distribution."""

_FLOAT: Final = "leave the layer in float (--exclude) or give it 16 bits"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why, and what to do.

    Attributes:
        kind: One word for programs.
        text: A sentence with the figure that shows it.
        remedy: A sentence.
    """

    kind: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Symptoms:
    """What is known of a layer whose output is off.

    Attributes:
        op_type: Its operator.
        sqnr_db: With all errors from before.
        before_db: Lowest of what it reads.
        alone_db: When it reads exact numbers; None where nothing of it is rounded.
        shares: Where its own error comes from, as fractions: by the name of the value that it
            reads or writes rounded.
        weight_share: The fraction that is left for its weight.
        values: Figures of those values, and of what a dynamic layer reads.
        own_db: By value, of the rounded value against itself.
        weight: Figures of its weight.
        dynamic: Whether what it reads is rounded while running.
    """

    op_type: str
    sqnr_db: float
    before_db: float
    alone_db: float | None
    shares: Mapping[str, float] = field(default_factory=dict)
    weight_share: float = 0.0
    values: Mapping[str, ValueFigures] = field(default_factory=dict)
    own_db: Mapping[str, float] = field(default_factory=dict)
    weight: WeightFigures | None = None
    dynamic: bool = False


def explain(of: Symptoms) -> Cause:
    """The likely cause of what is off at the output of a layer in the quantized model."""
    if of.alone_db is None or of.alone_db > of.before_db + INHERITED_DB:
        alone = "nothing of it is rounded" if of.alone_db is None else f"alone {of.alone_db:.1f} dB"
        return Cause(
            INHERITED,
            f"the error comes from before: what it reads is at {of.before_db:.1f} dB, {alone}",
            "Look at the layers before it",
        )
    return explain_alone(of)


def explain_alone(of: Symptoms) -> Cause:
    """The likely cause of the error that a layer makes by itself."""
    if MAX_DB in (-of.sqnr_db, -(of.alone_db or 0.0)):
        text = "its output is NaN or infinite in integers"
        return Cause("not_finite", text, f"Check the samples; {_FLOAT}")
    if of.dynamic:
        return _dynamic(of)
    worst = max(of.shares, key=lambda name: of.shares[name], default="")
    if of.weight_share > of.shares.get(worst, 0.0):
        return _weight(of)
    figures = of.values.get(worst)
    if figures is None:
        return _plain(of)
    return _value(of, figures) or _plain(of)


def explain_value(of: ValueFigures, own_db: float, readers_db: float | None, reader: str) -> Cause:
    """The likely cause of what rounding a value costs.

    Args:
        of: The value.
        own_db: Of the rounded value against itself.
        readers_db: Of what its worst reader makes of it; None where none makes float numbers.
        reader: Name of that reader.
    """
    for test in _TESTS:
        cause = test(of)
        if cause is not None:
            return cause
    if readers_db is not None and own_db > readers_db + CANCELS_DB:
        return Cause(
            "cancels",
            f"it is rounded at {own_db:.1f} dB, but the results of {reader} are small against "
            "what it reads: large numbers cancel, their errors do not",
            f"Sums that cancel need more bits: {_FLOAT}",
        )
    return Cause(
        "bits",
        f"8 bits are few for it: typically {of.rms:.2g}, up to {of.reach:.3g}, in steps of "
        f"{of.step:.2g}",
        _capital(_FLOAT),
    )


def _value(of: Symptoms, figures: ValueFigures) -> Cause | None:
    """What is wrong with the value whose rounding costs most."""
    for test in _TESTS:
        cause = test(figures)
        if cause is not None:
            return cause
    own = of.own_db.get(figures.name, MAX_DB)
    if of.alone_db is not None and own > of.alone_db + CANCELS_DB:
        return Cause(
            "cancels",
            f"{figures.name} is rounded at {own:.1f} dB, but the results are small against what "
            f"{of.op_type} reads: large numbers cancel, their errors do not",
            f"Sums that cancel need more bits: {_FLOAT}",
        )
    return None


def _saturated(of: ValueFigures) -> Cause | None:
    if of.cut < CUT or of.bounds is None or not of.beyond:
        return None
    return Cause(
        "saturation",
        f"{_share(of.beyond)} of {of.name} lie beyond its range {_range(of.bounds)} and are cut; "
        f"they reach {_range((of.low, of.high))}",
        f"Choose a wider range (--calibrator minmax), add samples of that kind, or {_FLOAT}",
    )


def _uneven(of: ValueFigures) -> Cause | None:
    ends = of.channels
    if ends is None or ends[0] < CHANNELS * ends[1]:
        return None
    return Cause(
        "channels",
        f"one range for all channels of {of.name}: the widest reaches {ends[0]:.3g}, the middle "
        f"one {ends[1]:.3g}, {ends[0] / ends[1]:.0f} times less",
        f"Scale the channels alike before quantizing (equalization), or {_FLOAT}",
    )


def _outlying(of: ValueFigures) -> Cause | None:
    reach = of.reach if of.bounds is None else min(of.reach, max(-of.bounds[0], of.bounds[1]))
    if reach < OUTLIERS * of.most or not of.most:
        return None
    return Cause(
        "outliers",
        f"outliers: the range of {of.name} reaches {reach:.3g}, 99.9 % of it lie within "
        f"{of.most:.3g}",
        f"Choose a calibrator that cuts (--calibrator percentile or mse), or {_FLOAT}",
    )


def _dead(of: ValueFigures) -> Cause | None:
    if of.reach:
        return None
    return Cause(
        "dead",
        f"{of.name} was zero in all samples: nothing tells its scale",
        "Add samples that make it something else",
    )


def _tiny(of: ValueFigures) -> Cause | None:
    if not of.step or of.rms >= FEW_STEPS * of.step:
        return None
    return Cause(
        "tiny",
        f"most of {of.name} is small: typically {of.rms:.2g}, in steps of {of.step:.2g} for the "
        f"few that reach {of.reach:.3g}",
        f"Choose a calibrator that cuts (--calibrator mse), or {_FLOAT}",
    )


_TESTS: tuple[Callable[[ValueFigures], Cause | None], ...] = (
    _saturated,
    _dead,
    _uneven,
    _outlying,
    _tiny,
)
"""In this order: the first that applies tells most about what to do."""


def _weight(of: Symptoms) -> Cause:
    figures = of.weight
    if figures is None:
        return Cause("weight", "rounding its weight costs most of it", _capital(_FLOAT))
    if figures.spread >= WEIGHT_SPREAD:
        return Cause(
            "weight_spread",
            f"a channel of weight {figures.name} reaches {figures.spread:.0f} times its typical "
            f"size: the rounded weight is at {figures.sqnr_db:.1f} dB",
            f"Equalize it with its neighbours, or {_FLOAT}",
        )
    if of.alone_db is not None and figures.sqnr_db > of.alone_db + CANCELS_DB:
        return Cause(
            "weight_bias",
            f"rounding weight {figures.name} shifts the results: the weight is at "
            f"{figures.sqnr_db:.1f} dB, but its errors add up over what is alike in all inputs",
            f"Correct the bias, or {_FLOAT}",
        )
    return Cause(
        "weight",
        f"rounding weight {figures.name} costs most of it: the rounded weight is at "
        f"{figures.sqnr_db:.1f} dB",
        f"Learn its rounding, or {_FLOAT}",
    )


def _dynamic(of: Symptoms) -> Cause:
    for figures in of.values.values():
        rows = figures.rows
        if rows is not None and rows[0] >= CHANNELS * rows[1]:
            return Cause(
                "row",
                f"one row of {figures.name} reaches {rows[0]:.3g}, the middle one {rows[1]:.3g}: "
                "a single scale, found while running, serves all rows",
                _capital(_FLOAT),
            )
        cause = _uneven(figures) or _outlying(figures)
        if cause is not None:
            return cause
    if of.weight is not None and of.weight.spread >= WEIGHT_SPREAD:
        return _weight(of)
    return _plain(of)


def _plain(of: Symptoms) -> Cause:
    worst = max(of.shares, key=lambda name: of.shares[name], default="")
    largest = of.shares.get(worst, 0.0)
    told = "8 bits are few for what it computes"
    if worst in of.own_db and largest > of.weight_share:
        told = f"8 bits are few: {min(largest, 1.0):.0%} of its error come from {worst}, which is "
        told += f"rounded at {of.own_db[worst]:.1f} dB"
    return Cause("bits", told, _capital(_FLOAT))


def _share(fraction: float) -> str:
    return f"{fraction:.2%}" if fraction >= 1e-4 else f"{fraction * 1e6:.0f} in a million"


def _range(bounds: tuple[float, float]) -> str:
    return f"[{bounds[0]:.3g}, {bounds[1]:.3g}]"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
