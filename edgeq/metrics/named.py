"""Task metrics: those that edgeq brings, and anyone's by ``module:function``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edgeq.errors import EdgeqError, PluginError, RecipeError, nearest
from edgeq.metrics.accuracy import top_k
from edgeq.metrics.language import perplexity, token_losses
from edgeq.references import is_reference, one_line, parse_reference

if TYPE_CHECKING:
    from edgeq.types import Array, Sample

Reducer: TypeAlias = "Callable[[dict[str, Array], Sample, dict[str, Array]], dict[str, Array]]"
"""``(outputs of one sample, what it was fed, its labels) -> what the metric needs of them``."""

Scorer: TypeAlias = "Callable[[list[dict[str, Array]], dict[str, Array]], Any]"
"""``(outputs of each sample, labels) -> number, or numbers by name``, the main one first."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A task metric.

    Attributes:
        name: As the report calls it.
        summary: One sentence.
        higher_is_better: Which way is better.
        function: Computes it.
        key: Which of the numbers of ``function`` is meant; None for its only or first one.
        reduce: What is kept of a sample's outputs, where they are too large to keep; None keeps
            them.
        needs_labels: Whether data without labels is refused.
        resamples: Whether the function is quick enough to be called a thousand times.
    """

    name: str
    summary: str
    higher_is_better: bool
    function: Scorer
    key: str | None = None
    reduce: Reducer | None = None
    needs_labels: bool = True
    resamples: bool = False

    def __call__(self, outputs: list[dict[str, Array]], labels: dict[str, Array]) -> float:
        """The metric over all samples.

        Args:
            outputs: Output arrays by name, one dict a sample.
            labels: Label arrays by name, samples on axis 0.

        Raises:
            DataError: The labels do not fit.
            RecipeError: The function's result has no such key.
            PluginError: The function fails, or its result is not a finite number.
        """
        try:
            result = self.function(outputs, labels)
        except EdgeqError:
            raise
        except Exception as error:  # whatever a stranger's function raises
            given = ", ".join(sorted(labels)) or "none"
            raise PluginError(
                f"the metric fails with {one_line(error)}",
                where=self.name,
                remedy=f"It is called as (outputs, labels); labels of this data: {given}",
            ) from error
        return self._number(self._picked(result))

    def _picked(self, result: Any) -> Any:
        if not isinstance(result, Mapping):
            if self.key is None:
                return result
            raise RecipeError(
                f"the metric gives one number and no {self.key!r}",
                where=self.name,
                remedy=f"Leave out #{self.key}",
            )
        if self.key is not None and self.key not in result:
            remedy = nearest(self.key, map(str, result)) if result else "It is empty"
            raise RecipeError(f"the metric gives no {self.key!r}", where=self.name, remedy=remedy)
        if not result:
            raise PluginError(
                "the metric gives an empty dict", where=self.name, remedy="Return a number"
            )
        return result[next(iter(result)) if self.key is None else self.key]

    def _number(self, value: Any) -> float:
        array = (
            np.asarray(value) if isinstance(value, (int, float, np.generic, np.ndarray)) else None
        )
        if array is None or array.size != 1 or array.dtype.kind not in "iuf":
            raise PluginError(
                f"the metric gives {_shown(value)}, not a number",
                where=self.name,
                remedy="Return a float, or a dict of floats by name",
            )
        number = float(array.reshape(()))
        if not np.isfinite(number):
            raise PluginError(
                f"the metric gives {number}",
                where=self.name,
                remedy="Check that the labels fit, and that no class or sample is missing",
            )
        return number


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)}"
    return f"a {type(value).__name__}"


METRICS: tuple[Metric, ...] = (
    Metric(
        "top1",
        "fraction of samples whose highest score is a right class",
        higher_is_better=True,
        function=partial(top_k, k=1),
        resamples=True,
    ),
    Metric(
        "top5",
        "fraction of samples with a right class among the five highest scores",
        higher_is_better=True,
        function=partial(top_k, k=5),
        resamples=True,
    ),
    Metric(
        "perplexity",
        "how many tokens a language model hesitates between, on average; also #bits, #accuracy",
        higher_is_better=False,
        function=perplexity,
        reduce=token_losses,
        needs_labels=False,
        resamples=True,
    ),
)


def load_metric(text: str) -> Metric:
    """Find a metric by what the command line takes.

    Args:
        text: A name, ``module:function`` or ``FILE.py:function``; with ``#KEY`` behind it to pick
            one number of several, with ``-`` before it where lower is better.

    Raises:
        RecipeError: No metric has this name, or the function cannot be imported.
    """
    plain = text.strip()
    lower = plain.startswith("-")
    plain = plain.removeprefix("-")
    name, key = _split_key(plain)
    found = _named(name) if ":" not in name else _referred(name)
    return replace(
        found,
        name=plain,
        higher_is_better=found.higher_is_better and not lower,
        key=key,
    )


def _split_key(text: str) -> tuple[str, str | None]:
    # The name of a folder may hold a '#', the name of a function cannot.
    if "#" not in text or is_reference(text):
        return text, None
    name, _, key = text.rpartition("#")
    return name, key


def _named(name: str) -> Metric:
    known = {metric.name: metric for metric in METRICS}
    if name not in known:
        guess = nearest(name, known)
        raise RecipeError(
            f"unknown metric {name!r}",
            where="--metric",
            remedy=f"{guess} Any other is given as FILE.py:function"
            if guess.endswith("?")
            else f"{guess}, module:function or FILE.py:function",
        )
    return known[name]


def _referred(text: str) -> Metric:
    function = parse_reference(text)
    if not callable(function):
        raise RecipeError(
            f"it is a {type(function).__name__}, not a function",
            where=text,
            remedy="Name a function (outputs, labels) -> float",
        )
    summary = (getattr(function, "__doc__", None) or "").strip().partition("\n")[0]
    return Metric(text, summary, higher_is_better=True, function=function)
