"""Work held against a board: memory, flash, energy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeq.estimation.arena import Peak, peak
from edgeq.targets.board import WeightMemory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.estimation.work import Step, Work
    from edgeq.targets.board import Board, EnergyCosts

METHOD: Final = (
    "An estimate, nothing was timed. Each node is one step, in the order of the graph; Q/DQ pairs "
    "run with the integer nodes between them, Relu and Clip with the layer before them, reshapes "
    "move nothing. A step moves each of its inputs, constants and outputs once: a lower bound, "
    "caches that are too small move more. The arena is the largest sum of the activations that are "
    "needed at once, inputs and outputs included, without gaps and without scratch memory of "
    "kernels; flash holds the constants, without the graph and the program. Energy is "
    "multiply-accumulates and bytes moved times the figures of the board, nothing else."
)
"""What the figures are, in words."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One step.

    Attributes:
        name: Of the node.
        op_type: Its operator.
        macs: Multiply-accumulates.
        precision: What they are computed in; empty where there are none.
        read_bytes: Of activations.
        constant_bytes: Read.
        written_bytes: Of activations.
        energy_pj: Picojoules; None where the board has no figure.
    """

    name: str
    op_type: str
    macs: int
    precision: str
    read_bytes: int
    constant_bytes: int
    written_bytes: int
    energy_pj: float | None

    @property
    def moved_bytes(self) -> int:
        """All bytes that it moves."""
        return self.read_bytes + self.constant_bytes + self.written_bytes


@dataclass(frozen=True, slots=True)
class Limit:
    """What a model needs of a memory.

    Attributes:
        memory: ``flash`` or ``ram``.
        needed: Bytes.
        available: Bytes; None where the board has no limit.
    """

    memory: str
    needed: int
    available: int | None

    @property
    def fits(self) -> bool:
        """Whether there is enough."""
        return self.available is None or self.needed <= self.available


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a model costs on a board.

    Attributes:
        form: Which form of the model this is of.
        layers: Step by step.
        arena: Memory of activations.
        limits: What it needs of each memory.
        energy_pj: Picojoules of a run; None where the board lacks a figure.
        notes: What could not be counted, sentences without a final period.
    """

    form: str
    layers: tuple[Layer, ...]
    arena: Peak
    limits: tuple[Limit, ...]
    energy_pj: float | None
    notes: tuple[str, ...]

    @property
    def macs(self) -> Mapping[str, int]:
        """Multiply-accumulates by precision."""
        found: Counter[str] = Counter()
        for layer in self.layers:
            found[layer.precision] += layer.macs
        return {precision: count for precision, count in sorted(found.items()) if count}

    @property
    def moved_bytes(self) -> int:
        """All bytes that are moved."""
        return sum(layer.moved_bytes for layer in self.layers)

    @property
    def fits(self) -> bool:
        """Whether the board has room for it."""
        return all(limit.fits for limit in self.limits)


def estimate(form: str, work: Work, board: Board) -> Estimate:
    """Hold a run of a model against a board.

    Args:
        form: What to call this form of the model.
        work: What a run computes and moves.
        board: Limits and costs.
    """
    layers = tuple(_layer(step, work.sizes, board.energy) for step in work.steps)
    costs = [layer.energy_pj for layer in layers]
    known = [cost for cost in costs if cost is not None]
    without = {n.precision for n in layers if n.energy_pj is None}
    notes = work.notes
    if board.energy is not None and without:
        kinds = ", ".join(sorted(without))
        notes += (f"Board {board.name} has no energy of a multiplication in {kinds}",)
    arena = peak(work)
    beside = work.constant_bytes if board.weights is WeightMemory.RAM else 0
    limits = (
        Limit("flash", work.constant_bytes, board.flash_bytes),
        Limit("ram", arena.size + beside, board.ram_bytes),
    )
    energy = sum(known) if len(known) == len(costs) and board.energy is not None else None
    return Estimate(form, layers, arena, limits, energy, notes)


def _layer(step: Step, sizes: Mapping[str, int], costs: EnergyCosts | None) -> Layer:
    read = sum(sizes[name] for name in step.reads)
    written = sum(sizes[name] for name in step.writes)
    energy = None
    if costs is not None and (not step.macs or step.precision in costs.mac):
        computed = step.macs * costs.mac[step.precision] if step.macs else 0.0
        moved = (read + written) * costs.activation_byte + step.constant_bytes * costs.weight_byte
        energy = computed + moved
    return Layer(
        step.name,
        step.op_type,
        step.macs,
        step.precision,
        read,
        step.constant_bytes,
        written,
        energy,
    )
