"""Judging what an output holds part by part: boxes beside scores, each against its own size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.graph.parts import Part
    from edgeq.runtime.paired import Runs
    from edgeq.types import Array, Sample

FOUND: Final = 0.25
"""Probability from which something may have been found."""


class InParts:
    """A model whose answers also come in parts.

    Args:
        model: The model.
        parts: Of its outputs.
        found_only: Leave out probabilities of a sample in which there is nothing to find: what
            matters of them is that they stay small, and no ratio of errors tells that.
    """

    def __init__(self, model: Runs, parts: Sequence[Part], *, found_only: bool = False) -> None:
        self._model = model
        self._parts = {part.name: part for part in parts}
        self._found_only = found_only
        self.outputs = (*model.outputs, *self._parts)

    def run(self, sample: Sample, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Output or part -> array."""
        names = self.outputs if outputs is None else outputs
        parts = [self._parts[name] for name in names if name in self._parts]
        whole = [name for name in names if name not in self._parts]
        answer = self._model.run(sample, [*dict.fromkeys((*whole, *(p.output for p in parts)))])
        found = {
            part.name: part.of(answer[part.output]) for part in parts if self._tells(part, answer)
        }
        return {**{name: answer[name] for name in whole}, **found}

    def _tells(self, part: Part, answer: Mapping[str, Array]) -> bool:
        if not (self._found_only and part.probabilities):
            return True
        return float(np.max(part.of(answer[part.output]), initial=0.0)) >= FOUND
