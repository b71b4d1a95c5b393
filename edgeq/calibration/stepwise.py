"""Running a model from layer to layer on all samples at once, while its weights change.

What depends on the layers before needs them finished. Running the whole model anew for each layer
takes as many passes as there are layers; here every node runs once: a step runs the nodes up to
the next inputs, and what later nodes read is kept until they have run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph.piece import ancestors, piece
from edgeq.graph.walk import bodies, is_op, name_of, path_to, values
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeq.types import Array, Sample


class Stepwise:
    """A model on its way through the samples.

    Memory: what is computed and still to be read, for all samples. Of a quantized model that is
    mostly integers, as DequantizeLinear runs anew where its output is read.

    Args:
        model: The model. Weights of nodes that have not run yet may change between steps; nothing
            else may.
        samples: What to run it on.
        wanted: All values of the main graph that will be asked for.
        config: How to open sessions.
        memory: Bytes that may be kept of all samples: where they do not suffice, the last samples
            are given up for good. None for no limit.
    """

    def __init__(
        self,
        model: ir.Model,
        samples: Sequence[Sample],
        wanted: Iterable[str],
        config: SessionConfig | None = None,
        *,
        memory: int | None = None,
    ) -> None:
        self._memory = memory
        self._model = model
        self._config = config or SessionConfig()
        self._values = {n: v for n, v in values(model).items() if v.graph is model.graph}
        owners = bodies(model)
        self._owners = {graph: path_to(graph, owners)[-1].node for graph in owners}
        self._kept: list[dict[str, Array]] = [dict(sample) for sample in samples]
        self._held = {name_of(value) for value in model.graph.inputs}
        self._asked = dict.fromkeys(wanted, True)
        self._ahead, _ = ancestors((self._values[name] for name in self._asked), _is_stored)

    def advance(self, names: Sequence[str]) -> list[dict[str, Array]]:
        """Run up to the named values.

        Args:
            names: Values that were announced; each is asked for once.

        Returns:
            Per sample that is gone on with, the values by name; those are missing that no run
            made, or that are constants.
        """
        targets = [self._values[name] for name in names]
        needed, border = ancestors(targets, lambda value: _is_stored(value) or self._holds(value))
        self._ahead -= {node for node in needed if not _is_repeated(node)}
        made = [value for node in needed for value in node.outputs if self._outlasts(value)]
        for name in names:
            self._asked[name] = False
        outputs = {value for value in (*made, *targets) if not self._holds(value)}
        outputs = {value for value in outputs if value.producer() is not None}
        inputs = sorted((v for v in border if self._holds(v)), key=name_of)
        if outputs:
            self._run(inputs, sorted(outputs, key=name_of))
        self._held |= {name_of(value) for value in outputs}
        found = [{n: kept[n] for n in names if n in kept} for kept in self._kept]
        self._forget()
        return found

    def has_run(self, node: ir.Node) -> bool:
        """Whether nothing asks for a node any more."""
        return not self._is_ahead(node)

    def held(self) -> set[str]:
        """Names of the values in memory."""
        return {name for kept in self._kept for name in kept}

    def _run(self, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> None:
        session = Session(piece(self._model, inputs, outputs), self._config)
        held = 0
        for place, kept in enumerate(self._kept):
            kept |= session.run(kept)
            held += sum(getattr(array, "nbytes", 0) for array in kept.values())
            if self._memory is not None and held > self._memory:
                # At least one goes on.
                del self._kept[max(place, 1) :]
                return

    def _holds(self, value: ir.Value) -> bool:
        return value.name in self._held

    def _outlasts(self, value: ir.Value) -> bool:
        """Whether nodes that have not run yet read a value, or somebody will ask for it."""
        if not value.name:
            return False
        producer = value.producer()
        if self._asked.get(value.name, False):
            return True
        if producer is not None and _is_repeated(producer):
            return False
        return any(self._is_ahead(use.node) for use in value.uses())

    def _is_ahead(self, reader: ir.Node) -> bool:
        if _is_repeated(reader):
            result = reader.outputs[0]
            asked = self._asked.get(result.name or "", False)
            return asked or any(self._is_ahead(use.node) for use in result.uses())
        owner = self._owners.get(reader.graph) if isinstance(reader.graph, ir.Graph) else None
        return (owner or reader) in self._ahead

    def _forget(self) -> None:
        over = {name for name in self._held if not self._outlasts(self._values[name])}
        self._held -= over
        for kept in self._kept:
            for name in over:
                kept.pop(name, None)


def _is_stored(value: ir.Value) -> bool:
    return value.is_initializer() and not value.is_graph_input()


def _is_repeated(node: ir.Node) -> bool:
    """Whether the node's input is kept rather than its output, which has four times the bytes."""
    return is_op(node, "DequantizeLinear")
