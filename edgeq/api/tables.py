"""Reading, merging and judging calibration tables."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.calibration import table as tables
from edgeq.calibration.table import CalibrationTable, load_table
from edgeq.errors import CalibrationError

if TYPE_CHECKING:
    import os

    from edgeq.api.grounding import Ground
    from edgeq.calibration.contract import StatisticKind
    from edgeq.calibration.origin import Origin

PLACES = ("in the table", "here")
_AGAIN = "Calibrate again with the same model and options, or quantize with --calib DATA"


def merge_tables(
    *given: CalibrationTable | str | os.PathLike[str], allow_partial: bool = False
) -> CalibrationTable:
    """One table of several shards: what a single run over all samples finds, to the bit.

    Args:
        given: Tables or their files, each shard once, in any order.
        allow_partial: Whether shards may be missing or unfinished. The table says so.

    Raises:
        CalibrationError: A file is no table, or they are not the shards of one run.
    """
    loaded = [opened(each) for each in given]
    names = [_name(each, f"table {number}") for number, each in enumerate(given, start=1)]
    return tables.merge(loaded, names, allow_partial=allow_partial)


def _name(
    table: CalibrationTable | str | os.PathLike[str], otherwise: str = "the calibration table"
) -> str:
    return otherwise if isinstance(table, CalibrationTable) else str(Path(table))


def opened(table: CalibrationTable | str | os.PathLike[str]) -> CalibrationTable:
    """The table itself, or that in the file."""
    return table if isinstance(table, CalibrationTable) else load_table(table)


def require_usable(
    given: CalibrationTable | str | os.PathLike[str],
    wanted: Origin,
    *,
    allow_partial: bool = False,
) -> CalibrationTable:
    """The table, where it can stand for calibration data.

    Args:
        given: The table, or its file.
        wanted: The model and choices at hand; their preparation, which takes time, is not looked
            at here.
        allow_partial: Whether it may lack samples.

    Raises:
        CalibrationError: It is for something else, or not finished.
    """
    table, where = opened(given), _name(given)
    there = table.facts.origin
    same = replace(wanted, preparation=there.preparation, left_out=there.left_out)
    difference = there.difference(same, PLACES)
    if difference is not None:
        raise CalibrationError(
            f"it was collected for something else: {difference}",
            where=where,
            remedy=_AGAIN,
        )
    lacking = table.lacking()
    if lacking is not None and not allow_partial:
        raise CalibrationError(
            f"it is not complete: {lacking}",
            where=where,
            remedy="Finish it with edgeq calibrate --resume or edgeq table merge, or take what "
            "there is with --allow-partial",
        )
    if not table.collection.samples:
        raise CalibrationError("it holds no samples", where=where, remedy="Calibrate again")
    return table


def require_prepared_alike(
    table: CalibrationTable, ground: Ground, kinds: frozenset[StatisticKind]
) -> None:
    """Make sure that the values of the table are those of the prepared model.

    Args:
        table: The table.
        ground: The model, prepared here.
        kinds: The statistics that are going to be read.

    Raises:
        CalibrationError: Preparation made another graph, a value is missing, or a statistic.
    """
    where = "the calibration table"
    difference = table.facts.origin.difference(ground.origin, PLACES)
    made = " and ".join(table.facts.versions.get("edgeq", ()))
    if difference is not None:
        raise CalibrationError(
            f"its values are not those of the model as edgeq {version('edgeq')} prepares it: "
            f"{difference}",
            where=where,
            remedy=f"Calibrate again with this edgeq; the table was made by edgeq {made}",
        )
    known = {note.name for note in table.facts.values}
    missing = [name for name in ground.observed if name not in known]
    if missing:
        raise CalibrationError(
            f"{len(missing)} values are missing, such as {missing[0]!r}",
            where=where,
            remedy=f"Calibrate again with this edgeq; the table was made by edgeq {made}",
        )
    for name, statistics in table.collection.statistics.items():
        lacking = kinds - statistics.kinds
        if lacking:
            kind = min(each.value for each in lacking)
            raise CalibrationError(
                f"the {kind} of {name!r} was not collected, which the calibrator reads",
                where=where,
                remedy="Calibrate again while the calibrator is installed",
            )
