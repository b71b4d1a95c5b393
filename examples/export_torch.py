"""From a torch module to a validated int8 file, with nothing written in between.

    pip install "edgeq[torch]"
    python examples/export_torch.py [detector.int8.onnx]

``torch.onnx.export`` hands over an ``ONNXProgram``. It goes straight into :func:`edgeq.quantize`
(:func:`quantize_program`); or its model goes through a pipeline of onnx-ir passes whose last one is
:class:`edgeq.QuantizePass` (:func:`quantize_in_pipeline`). What comes out has been run and held
against the original already; :func:`main` does so once more, from the file and on fresh samples.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import CommonSubexpressionEliminationPass

import edgeq

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.types import Sample


class Detector(torch.nn.Module):
    """A small convolutional network, in place of a trained one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            torch.nn.BatchNorm2d(16),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 3, stride=2, padding=1),
            torch.nn.Hardswish(),
            torch.nn.Conv2d(32, 32, 3, padding=1, groups=32),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(32, 10),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scores [N, 10] of images [N, 3, 64, 64]."""
        scores: torch.Tensor = self.layers(image)
        return scores


def export(module: torch.nn.Module) -> torch.onnx.ONNXProgram:
    """Export the module, with a batch of any size."""
    program = torch.onnx.export(
        module.eval(),
        (torch.zeros(2, 3, 64, 64),),
        dynamo=True,
        input_names=["image"],
        output_names=["scores"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch exported nothing")
    return program


def images(count: int, seed: int) -> list[Sample]:
    """Stand-ins for typical inputs, preprocessed as for the module; take real ones instead."""
    random = np.random.default_rng(seed)
    coarse = random.standard_normal((count, 1, 3, 8, 8)).astype(np.float32)
    return [{"image": each.repeat(8, axis=-2).repeat(8, axis=-1)} for each in coarse]


def quantize_program(
    program: torch.onnx.ONNXProgram, samples: Sequence[Sample], file: Path
) -> edgeq.QuantizationResult:
    """The direct way. ``save`` refuses a result that failed."""
    result = edgeq.quantize(program, samples)
    result.save(file)
    return result


def quantize_in_pipeline(program: torch.onnx.ONNXProgram, samples: Sequence[Sample]) -> ir.Model:
    """The way of an export pipeline: quantization is a pass among others."""
    pipeline = ir.passes.Sequential(
        CommonSubexpressionEliminationPass(), edgeq.QuantizePass(samples)
    )
    return pipeline(program.model.clone()).model


def main() -> int:
    """Export, quantize, save, and validate the file on samples that nothing has seen yet."""
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "detector.int8.onnx")
    torch.manual_seed(0)
    program = export(Detector())
    quantize_program(program, images(64, seed=1), file)
    checked = edgeq.validate(program, file, images(16, seed=2))
    scores = checked.report.outputs["scores"]
    print(f"{file}: {checked.report.verdict.text}, {scores.sqnr_db:.1f} dB, {scores.cosine:.5f}")
    return 0 if checked.passed else 1


if __name__ == "__main__":
    sys.exit(main())
