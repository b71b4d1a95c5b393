"""Score a model of this folder, or a candidate made from it, on its held-out data.

    python sample_models/score.py FOLDER [CANDIDATE.onnx]

Prints the metric as JSON. Needs only numpy and onnxruntime.
"""

import argparse
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

Score = Callable[[list[dict[str, np.ndarray]], dict[str, np.ndarray]], dict[str, float]]


def load_metric(path: Path) -> Score:
    """Return the function `score` of a metric file.

    Args:
        path: The Python file that defines it.

    Returns:
        The function, which takes the outputs of all samples and the labels.
    """
    spec = importlib.util.spec_from_file_location(f"metric_of_{path.parent.name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    score: Score = module.score
    return score


def run(model: Path, inputs: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Run a model over stacked samples, one at a time.

    Args:
        model: The ONNX file.
        inputs: Arrays by input name; axis 0 counts samples, and sample i is fed as `array[i]`.

    Returns:
        The outputs of every sample by output name.
    """
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    count = len(next(iter(inputs.values())))
    results: list[dict[str, np.ndarray]] = []
    for i in range(count):
        values: list[Any] = session.run(names, {name: a[i] for name, a in inputs.items()})
        results.append(dict(zip(names, values, strict=True)))
    return results


def evaluate(model: Path, data: Path, metric: Path) -> dict[str, float]:
    """Score a model on held-out data.

    Args:
        model: The ONNX file.
        data: The .npz of inputs and labels; the labels are the arrays named `label_*`.
        metric: The Python file that defines `score`.

    Returns:
        What the metric says, its main value first.
    """
    with np.load(data) as file:
        arrays = {name: file[name] for name in file.files}
    labels = {n.removeprefix("label_"): a for n, a in arrays.items() if n.startswith("label_")}
    inputs = {n: a for n, a in arrays.items() if not n.startswith("label_")}
    return load_metric(metric)(run(model, inputs), labels)


def main() -> None:
    """Score the model that the command line names."""
    parser = argparse.ArgumentParser(description="Score a sample model on its held-out data.")
    parser.add_argument("folder", type=Path, help="digits, tones or text, as a path")
    parser.add_argument("candidate", type=Path, nargs="?", help="default: FOLDER/model.onnx")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    model: Path = arguments.candidate or folder / "model.onnx"
    print(json.dumps(evaluate(model, folder / "eval" / "eval.npz", folder / "metric.py"), indent=2))


if __name__ == "__main__":
    main()
