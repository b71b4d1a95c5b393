"""Where the Transposes around a region cost least.

Every member gets a label: the side to work on. A tensor costs a Transpose when one of its readers
wants another side than its producer makes, however many readers do. The cheapest labelling is a
minimum cut: label 1 is the source's part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edgeq.graph.walk import is_op
from edgeq.passes import affine as affines
from edgeq.passes.layout import permutation
from edgeq.passes.layout.mincut import INFINITE, Network
from edgeq.passes.pattern import produced_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.passes.layout.regions import Member, Region, Tensor

Labels: TypeAlias = "Mapping[Member, int]"
"""The side that each member works on."""

_LAYERS = (
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace",
    "GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization", "MaxPool", "SpaceToDepth",
)  # fmt: skip
"""What follows such a node had better be in the same order: runtimes fuse it."""

_SYMBOLIC = 16
"""What an axis of unknown size counts as; a first axis that stays first, a batch, counts as 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A region with its prices.

    Attributes:
        region: The region.
        price: What a Transpose of each tensor costs.
        label_price: What each member costs on side 0 and on side 1.
    """

    region: Region
    price: Mapping[Tensor, int]
    label_price: Mapping[Member, tuple[int, int]]

    def cost(self, labels: Labels) -> int:
        """What a labelling costs."""
        total = sum(self.label_price[member][label] for member, label in labels.items())
        for tensor in self.region.tensors:
            if wanted(tensor, labels) - {made(tensor, labels)}:
                total += self.price[tensor]
        return total

    def cost_now(self) -> int:
        """What the graph costs as it is."""
        labels = {member: member.side for member in self.region.members}
        total = sum(self.label_price[member][label] for member, label in labels.items())
        return total + sum(len(t.transposes) * self.price[t] for t in self.region.tensors)

    def solve(self) -> Labels:
        """A labelling of least cost."""
        network = Network()
        vertices = {member: network.vertex() for member in self.region.members}
        for member, (zero, one) in self.label_price.items():
            network.edge(network.SOURCE, vertices[member], zero)
            network.edge(vertices[member], network.SINK, one)
        for tensor in self.region.tensors:
            self._add(tensor, network, vertices)
        cut = network.cut()
        return {member: int(cut[vertex]) for member, vertex in vertices.items()}

    def _add(self, tensor: Tensor, network: Network, vertices: Mapping[Member, int]) -> None:
        def vertex(member: Member | None, side: int) -> int:
            if member is not None:
                return vertices[member]
            return network.SOURCE if side else network.SINK

        price, maker = self.price[tensor], vertex(tensor.producer, tensor.side)
        readers = {vertex(r.member, r.side) for r in tensor.readings if not r.absorbs}
        if len(readers) == 1:
            network.edge(maker, readers.pop(), price, back=price)
        elif readers:
            # All readers share one Transpose: these are at the source with any, with all of them.
            some, every = network.vertex(), network.vertex()
            network.edge(some, maker, price)
            network.edge(maker, every, price)
            for reader in readers:
                network.edge(reader, some, INFINITE)
                network.edge(every, reader, INFINITE)


def made(tensor: Tensor, labels: Labels) -> int:
    """The side on which a tensor comes into being."""
    return tensor.side if tensor.producer is None else labels[tensor.producer]


def wanted(tensor: Tensor, labels: Labels) -> set[int]:
    """The sides that readers of a tensor want."""
    readings = (r for r in tensor.readings if not r.absorbs)
    return {r.side if r.member is None else labels[r.member] for r in readings}


def priced(region: Region) -> Problem:
    """Price a region: by elements moved, then by Transposes, then by nodes off their best side."""
    unit = 2 * len(region.members) + 2
    price = {tensor: (_elements(tensor) + 1) * unit for tensor in region.tensors}
    favoured = _favoured(region)
    read_by = {r.member: price[t] for t in region.tensors for r in t.readings if r.member}
    biases = _biases(region)
    label_price = {}
    for member in region.members:
        best = biases.get(member, member.side if favoured is None else favoured)
        slow = read_by.get(member, 0) * member.rule.surcharge
        prices = [int(side != best) + slow * (not _suits(member, side)) for side in (0, 1)]
        label_price[member] = (prices[0], prices[1])
    return Problem(region, price, label_price)


def _elements(tensor: Tensor) -> int:
    """How many elements a Transpose moves; 0 where it only changes the shape."""
    sizes = _sizes(tensor)
    kept = [axis for axis, size in enumerate(sizes) if size != 1]
    if permutation.keeps(tensor.order, kept):
        return 0
    batch = 0 if tensor.order[0] == 0 else -1
    unknown = (1 if axis == batch else _SYMBOLIC for axis in range(len(sizes)))
    return math.prod(known or default for known, default in zip(sizes, unknown, strict=True))


def _sizes(tensor: Tensor) -> list[int | None]:
    """The sizes of a tensor in the order of its root, as far as any value that holds it knows."""
    found: list[int | None] = [None] * len(tensor.order)
    held = {tensor.side: tensor.root, **{r.side: r.value for r in tensor.readings}}
    for side, value in held.items():
        # Where each axis of the root stands in this value.
        places = range(len(found)) if side == tensor.side else permutation.inverse(tensor.order)
        if value.shape is not None:
            for axis, place in enumerate(places):
                size = value.shape[place]
                if isinstance(size, int) and size >= 0:
                    found[axis] = size
    return found


def _suits(member: Member, side: int) -> bool:
    """Whether a node that is quickest along the last axes works along these on a side."""
    rank, along = len(member.order), member.rule.along
    axes = [] if along is None else [axis % rank for axis in along(member.node)]
    if side != member.side:
        axes = [member.order.index(axis) for axis in axes]
    return sorted(axes) == list(range(rank - len(axes), rank))


def _biases(region: Region) -> dict[Member, int]:
    """What adds a constant to a product -> the side of the product: they belong together.

    So :mod:`edgeq.passes.fold_affine_after` has it, too.
    """
    found: dict[Member, int] = {}
    for tensor in region.tensors:
        if tensor.producer is None and produced_by(tensor.root, "MatMul"):
            for reading in tensor.readings:
                member = reading.member
                if member is not None and affines.read(member.node, None) is not None:
                    found[member] = tensor.side
    return found


def _favoured(region: Region) -> int | None:
    """The side of most layers around a region; None where neither has more."""
    balance = 0
    for tensor in region.tensors:
        producer = tensor.root.producer()
        if tensor.producer is None and producer is not None and is_op(producer, *_LAYERS):
            balance += 2 * tensor.side - 1
        for reading in tensor.readings:
            if reading.node is not None and is_op(reading.node, *_LAYERS):
                balance += 2 * reading.side - 1
    return None if balance == 0 else int(balance > 0)
