"""Rows of the report about where accuracy is lost; their keys are a contract, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeq.validation.layers import LayerFidelity
    from edgeq.validation.parting import Parting
    from edgeq.validation.sensitivity import ValueFidelity


def layer_row(layer: LayerFidelity) -> dict[str, Any]:
    """One layer as plain data; what nobody measured or explained is left out."""
    row: dict[str, Any] = {
        "name": layer.name,
        "op_type": layer.op_type,
        "sqnr_db": round(layer.sqnr_db, 2),
        "before_db": round(layer.before_db, 2),
    }
    if layer.alone_db is not None:
        row["alone_db"] = round(layer.alone_db, 2)
    if layer.cause:
        row |= {"cause": layer.cause, "remedy": layer.remedy}
    return row


def value_row(value: ValueFidelity) -> dict[str, Any]:
    """One rounded value as plain data; a cause only where somebody looked."""
    row = {
        "name": value.name,
        "op_type": value.op_type,
        "sqnr_db": round(value.sqnr_db, 2),
        "readers_db": _rounded(value.readers_db),
        "reader": value.reader,
        "accumulated_db": _rounded(value.accumulated_db),
    }
    return {**row, "cause": value.cause, "remedy": value.remedy} if value.cause else row


def parting_row(parting: Parting | None) -> dict[str, Any] | None:
    """The first layer where both models part, as plain data."""
    if parting is None:
        return None
    return {
        "name": parting.name,
        "op_type": parting.op_type,
        "before_db": round(parting.before_db, 2),
        "sqnr_db": round(parting.sqnr_db, 2),
        "alone_db": _rounded(parting.alone_db),
        "cause": parting.cause,
        "remedy": parting.remedy,
        "edges": list(parting.edges),
        "reference": list(parting.reference),
        "candidate": list(parting.candidate),
    }


def _rounded(decibels: float | None) -> float | None:
    return None if decibels is None else round(decibels, 2)
