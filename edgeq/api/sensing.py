"""Plain int8 of a model, held against the model layer by layer: what it would cost, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.api.calibrated import calibrated_from_data
from edgeq.api.stages import Stages
from edgeq.progress import Silent
from edgeq.quantization.ranges import calibrators_for
from edgeq.quantization.refusal import refuse_quantized
from edgeq.recipe import Recipe
from edgeq.runtime.session import SessionConfig
from edgeq.tuning.candidate import Choice
from edgeq.tuning.workshop import Workshop
from edgeq.validation.diagnosis import diagnose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.graph.loader import LoadedModel
    from edgeq.metrics import Fidelity
    from edgeq.progress import Progress
    from edgeq.targets import TargetProfile
    from edgeq.validation.diagnosis import Diagnosis

_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What int8 costs before any recovery step.

    Attributes:
        samples: Calibration samples read.
        outputs: Closeness of each output of the plainly quantized model.
        diagnosis: Both readings of layers and values, causes, and where both models part.
        notes: What was assumed about the samples.
    """

    samples: int
    outputs: Mapping[str, Fidelity]
    diagnosis: Diagnosis
    notes: tuple[str, ...]


def measure(
    loaded: LoadedModel,
    target: TargetProfile,
    data: object,
    *,
    max_samples: int | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> Sensitivity:
    """Calibrate, quantize without any search, and compare.

    Args:
        loaded: The float model.
        target: What can run in integers.
        data: Calibration data, as for :func:`edgeq.quantize`.
        max_samples: Samples to read at most.
        threads: Threads of onnxruntime; 0 lets it choose.
        progress: Listens to the run.

    Raises:
        EdgeqError: The model cannot be quantized, or the data cannot be used.
    """
    listener, recipe = progress or Silent(), Recipe()
    stages, calibrators = Stages(listener), calibrators_for(recipe.calibrator)
    refuse_quantized(loaded.model)
    calibrated = calibrated_from_data(
        loaded, data, target, recipe, stages, listener, max_samples=max_samples, threads=threads
    )
    ground, collection = calibrated.ground, calibrated.collection
    with stages.stage("quantize"):
        few = collection.kept[:_SAMPLES]
        workshop = Workshop(
            ground.prepared.model, loaded.model, target, recipe, collection, calibrators, few, few,
            threads=threads,
        )  # fmt: skip
        plain = workshop.build(Choice(tuple(calibrators)))
    with stages.stage("diagnose"):
        config = SessionConfig(threads, entries=target.session_entries)
        diagnosis = diagnose(plain.floats.model, plain.model, few, config)
    return Sensitivity(collection.samples, plain.outputs, diagnosis, calibrated.assumptions)
