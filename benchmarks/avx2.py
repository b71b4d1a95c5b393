"""Bits of integer kernels on x86 without VNNI, under emulation, against those of this machine.

    python benchmarks/avx2.py QEMU_X86_64                      # models made to provoke saturation
    python benchmarks/avx2.py QEMU_X86_64 --models MODELS      # and a set of models, quantized
    python benchmarks/avx2.py QEMU_X86_64 --json avx2.json

QEMU_X86_64 is a static qemu-x86_64 of version 10 or newer (Debian: qemu-user of
bookworm-backports, unpacked with dpkg -x). It runs this very interpreter on `-cpu Haswell`: AVX2
without VNNI. What is compared are integers: the operators that multiply and add 8-bit integers, as
onnxruntime's own optimized graph has them, each alone on random and on worst-case inputs; and
outputs of whole models on samples. This machine has to have VNNI, or nothing is shown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import edgeq
from edgeq.graph import loader
from edgeq.quantization.pairs import PairForm
from edgeq.recipe import Recipe
from edgeq.targets import target_named

_CPU = "Haswell"
_SAMPLES = 2
_SEED = 0
_TIMEOUT = 3600
_WORKER = "--worker"


@dataclass(frozen=True, slots=True)
class Case:
    """A quantized model to run on both.

    Attributes:
        name: Of the model.
        target: That it was quantized for.
        form: What was done about pairs that saturate.
        unsafe: Layers of which the plan says that two products can saturate.
        path: The file.
        feeds: The .npz of its samples.
    """

    name: str
    target: str
    form: str
    unsafe: int
    path: Path
    feeds: Path


@dataclass(frozen=True, slots=True)
class Row:
    """What both computed.

    Attributes:
        name: Of the model.
        target: That it was quantized for.
        form: What was done about pairs that saturate.
        unsafe: Layers of which the plan says that two products can saturate.
        kernels: Integer kernels compared, each alone.
        different: Those that give other bits under emulation.
        worst: Largest difference of a kernel, in steps of its output.
        outputs: Largest difference of the model's outputs over the largest magnitude.
        floats: The same for the fp32 model; None for a model made to provoke.
    """

    name: str
    target: str
    form: str
    unsafe: int
    kernels: int
    different: int
    worst: float
    outputs: float
    floats: float | None = None
