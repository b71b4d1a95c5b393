"""Quantizes a model with onnxruntime's own weight-only or dynamic quantization, and nothing else.

    python benchmarks/nbits_peer.py MODEL OUT KIND BITS BLOCK [CALIB]

KIND is default, rtn, hqq, k_quant, gptq or dynamic; `+gather` behind it takes embeddings along. A
script of its own, so that it runs where edgeq is not installed: hqq and gptq need torch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, matmul_nbits_quantizer, quantize_dynamic
from onnxruntime.quantization.neural_compressor import weight_only

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCURACY_LEVEL = 4
"""As edgeq writes it: without it 8 and 2 bits run ten times slower."""


class Samples(CalibrationDataReader):
    """The .npz files of a folder, one a sample."""

    def __init__(self, folder: str) -> None:
        self._files = iter(sorted(Path(folder).glob("*.npz")))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next sample, or None."""
        file = next(self._files, None)
        return None if file is None else dict(np.load(file))

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return iter(self.get_next, None)


class Remembering(onnxruntime.InferenceSession):
    """Runs once for each sample, and not once more for every value that is asked for.

    gptq asks for one input of a matrix at a time: the same numbers, in a twentieth of the time.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._known: dict[int, dict[str, np.ndarray]] = {}

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """See onnxruntime; a feed is told by its identity."""
        if id(feed) not in self._known:
            outputs = [output.name for output in self.get_outputs()]
            self._known[id(feed)] = dict(zip(outputs, super().run(outputs, feed), strict=True))
        return [self._known[id(feed)][name] for name in names]


def config(kind: str, bits: int, block: int, calib: str) -> Any:
    """The options of one method."""
    nbits = matmul_nbits_quantizer
    if kind == "rtn":
        return nbits.RTNWeightOnlyQuantConfig()
    if kind == "hqq":
        return nbits.HQQWeightOnlyQuantConfig(block_size=block, bits=bits)
    if kind == "k_quant":
        return nbits.KQuantWeightOnlyQuantConfig()
    if kind == "gptq":
        weight_only.ort.InferenceSession = Remembering
        return nbits.GPTQWeightOnlyQuantConfig(Samples(calib), block_size=block)
    ops = ("MatMul", "Gather") if kind == "default+gather" else ("MatMul",)
    return nbits.DefaultWeightOnlyQuantConfig(
        block_size=block, bits=bits, accuracy_level=ACCURACY_LEVEL, op_types_to_quantize=ops
    )


def main() -> None:
    """Quantize and save."""
    model, out, kind, bits, block, *rest = sys.argv[1:]
    if kind == "dynamic":
        quantize_dynamic(model, out)
        return
    quantizer = matmul_nbits_quantizer.MatMulNBitsQuantizer(
        onnx.load(model),
        bits=int(bits),
        block_size=int(block),
        accuracy_level=ACCURACY_LEVEL,
        algo_config=config(kind, int(bits), int(block), rest[0] if rest else ""),
    )
    quantizer.process()
    quantizer.model.save_model_to_file(out, use_external_data_format=False)


if __name__ == "__main__":
    main()
