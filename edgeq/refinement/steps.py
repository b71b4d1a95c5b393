"""The recovery steps: what they are called, what they do, and where they come from."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Stage(enum.Enum):
    """When a step acts."""

    FLOAT = "float"
    """On the float model, before ranges are chosen."""

    WEIGHTS = "weights"
    """On weights and biases, once all scales are known."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step that may win back accuracy.

    Attributes:
        name: As users write it.
        stage: When it acts.
        summary: What it does, in a line.
        source: Where it is described.
        coupled: Whether what it does to a layer makes up for the errors of the layers before it.
        on_biases: Whether it needs layers of which a bias can make up for what weights leave.
        replaces: Names of steps that have nothing left to do beside it.
    """

    name: str
    stage: Stage
    summary: str
    source: str
    coupled: bool = False
    on_biases: bool = False
    replaces: tuple[str, ...] = ()


EQUALIZE = Step(
    "equalize",
    Stage.FLOAT,
    "gives the channels of a value like ranges, by factors that neighbouring weights take over",
    "Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019",
)
SMOOTH = Step(
    "smooth",
    Stage.FLOAT,
    "moves outliers of single channels from the inputs of matrix products into their weights",
    "Xiao et al., SmoothQuant, 2022",
)
ROUND = Step(
    "round",
    Stage.WEIGHTS,
    "rounds weights so that the errors of a layer cancel out on its inputs, and settles biases",
    "Frantar et al., GPTQ, 2022; Nagel et al., AdaRound, 2020",
    coupled=True,
    replaces=("bias", "round-weights", "bias-measured"),
)
ROUND_WEIGHTS = Step(
    "round-weights",
    Stage.WEIGHTS,
    "the same, and leaves biases as they are",
    "Frantar et al., GPTQ, 2022; Nagel et al., AdaRound, 2020",
    coupled=True,
    on_biases=True,
    replaces=("bias",),
)
BIAS = Step(
    "bias",
    Stage.WEIGHTS,
    "lets biases make up for the mean error of rounded weights",
    "Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019",
    on_biases=True,
)
BIAS_MEASURED = Step(
    "bias-measured",
    Stage.WEIGHTS,
    "lets biases make up for the mean error that running the quantized model shows",
    "Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019",
    coupled=True,
    on_biases=True,
    replaces=("bias",),
)

STEPS = (BIAS, EQUALIZE, SMOOTH, ROUND, ROUND_WEIGHTS, BIAS_MEASURED)
"""In the order in which they act and are tried."""
