"""What the three training scripts share: seeds, the export to ONNX and the checks on it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch

OPSET = 18
THREADS = 1


def make_deterministic(seed: int) -> None:
    """Seed torch and forbid kernels whose result depends on timing.

    The number of threads is part of the result: it decides in which order sums are added.

    Args:
        seed: The seed of torch's own generator, which draws the weights.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)


def _anonymize(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes about its source: stack traces with paths, class names."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for tensor in graph.initializer:
        tensor.ClearField("metadata_props")
        tensor.ClearField("doc_string")


def export_onnx(
    model: torch.nn.Module,
    example: Mapping[str, torch.Tensor],
    output: str,
    dynamic: Mapping[str, Mapping[int, str]],
    path: Path,
) -> None:
    """Write a model of one output as a single ONNX file.

    Args:
        model: The trained model, whose arguments are named as the inputs.
        example: One tensor for each input; a dynamic dimension has to be at least 2 here, since
            the exporter takes 0 and 1 for constants.
        output: The name of the output.
        dynamic: The dynamic dimensions of each input and their names.
        path: Where to write.
    """
    model.eval()
    program = torch.onnx.export(
        model,
        kwargs=dict(example),
        input_names=list(example),
        output_names=[output],
        opset_version=OPSET,
        dynamic_shapes={name: dict(axes) for name, axes in dynamic.items()},
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the exporter returned no model")
    proto = program.model_proto
    _anonymize(proto)
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def check_against_torch(
    model: torch.nn.Module,
    path: Path,
    feeds: Sequence[Mapping[str, np.ndarray]],
    tolerance: float = 1e-3,
) -> float:
    """Run the ONNX file and the torch model on the same inputs of several shapes.

    Args:
        model: The trained model.
        path: The ONNX file made from it.
        feeds: Inputs by name, one mapping for each run.
        tolerance: The largest difference allowed.

    Returns:
        The largest absolute difference.

    Raises:
        RuntimeError: The outputs differ by more than the tolerance.
    """
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for feed in feeds:
        got = np.asarray(session.run(None, dict(feed))[0])
        with torch.inference_mode():
            want = model(**{name: torch.from_numpy(a) for name, a in feed.items()}).numpy()
        if got.shape != want.shape:
            raise RuntimeError(f"{path.name} returns {got.shape}, torch returns {want.shape}")
        worst = max(worst, float(np.abs(got - want).max()))
    if worst > tolerance:
        raise RuntimeError(f"{path.name} differs from torch by {worst}")
    return worst


def empty_folder(path: Path) -> Path:
    """Make a folder, or remove the files that an earlier run left in it.

    Args:
        path: The folder.

    Returns:
        The same path.
    """
    path.mkdir(parents=True, exist_ok=True)
    for file in path.iterdir():
        file.unlink()
    return path
