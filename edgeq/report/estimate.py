"""What a model would cost on a board, for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.estimation.estimate import METHOD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeq.estimation.estimate import Estimate, Layer
    from edgeq.targets.board import Board


def document(board: Board, forms: Iterable[Estimate]) -> dict[str, Any]:
    """The estimates as plain data; energies in picojoules.

    Args:
        board: What they are for.
        forms: One for each form of the model.
    """
    return {
        "method": METHOD,
        "board": {
            "name": board.name,
            "summary": board.summary,
            "weights": board.weights.value,
            "sources": list(board.sources),
            "energy_source": None if board.energy is None else board.energy.source,
        },
        "forms": [_form(each) for each in forms],
    }


def _form(found: Estimate) -> dict[str, Any]:
    return {
        "form": found.form,
        "macs": dict(found.macs),
        "moved_bytes": found.moved_bytes,
        "energy_pj": found.energy_pj,
        "arena": {
            "bytes": found.arena.size,
            "node": found.arena.step,
            "values": [{"name": name, "bytes": size} for name, size in found.arena.alive],
        },
        "limits": [
            {
                "memory": limit.memory,
                "needed": limit.needed,
                "available": limit.available,
                "fits": limit.fits,
            }
            for limit in found.limits
        ],
        "layers": [_layer(each) for each in found.layers],
        "notes": list(found.notes),
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op_type": layer.op_type,
        "macs": layer.macs,
        "precision": layer.precision or None,
        "read_bytes": layer.read_bytes,
        "constant_bytes": layer.constant_bytes,
        "written_bytes": layer.written_bytes,
        "energy_pj": layer.energy_pj,
    }
