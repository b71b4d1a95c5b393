"""The cases of ONNX's own backend tests, as its package ships them: a model, inputs, outputs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test import runner
from onnx.backend.test.loader import load_model_tests

if TYPE_CHECKING:
    from collections.abc import Iterator

STORED = ("simple", "pytorch-operator", "pytorch-converted")
"""Kinds of cases that are folders of a model and its data."""

LIGHT = "real"
"""Known networks; their weights are computed, so that the files are small."""


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: Its name in ONNX.
        model: The model.
        feeds: Inputs by name, one for each set of data.
        expected: The outputs in order, for each set of data.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
    """

    name: str
    model: onnx.ModelProto
    feeds: list[dict[str, Any]]
    expected: list[list[Any]]
    rtol: float
    atol: float

    def difference(self, outputs: list[list[Any]]) -> str | None:
        """How outputs differ from those expected; None when they do not."""
        for wanted, got in zip(self.expected, outputs, strict=True):
            try:
                runner.Runner.assert_similar_outputs(wanted, got, self.rtol, self.atol)
            except (AssertionError, TypeError, AttributeError) as error:
                lines = [line for line in str(error).splitlines() if line.strip()]
                return " ".join(lines[:4]) or type(error).__name__
        return None


def node_cases() -> list[Case]:
    """Those of single operators and of functions, by name."""
    with warnings.catch_warnings():
        # Some compute their expected outputs with overflows, on purpose.
        warnings.simplefilter("ignore")
        found = load_model_tests(kind="node")
    return [_in_memory(case) for case in sorted(found, key=lambda c: c.name) if case.model]


def stored_cases() -> Iterator[Case]:
    """Those of small models, then the known networks."""
    for kind in STORED:
        for case in sorted(load_model_tests(kind=kind), key=lambda c: c.name):
            model = onnx.load(Path(case.model_dir) / "model.onnx")
            folders = sorted(Path(case.model_dir).glob("test_data_set_*"))
            inputs = [_tensors(f, "input", model.graph.input) for f in folders]
            outputs = [_tensors(f, "output", model.graph.output) for f in folders]
            yield _case(case, model, inputs, outputs)
    for case in sorted(load_model_tests(kind=LIGHT), key=lambda c: c.name):
        path = Path(onnx.__file__).parent.parent / case.url
        model = onnx.load(path)
        wanted = path.with_name(f"{path.stem}_output_0.pb")
        yield _case(case, model, [_ramps(model)], [[_tensor(wanted)]])


def _in_memory(case: Any) -> Case:
    inputs = [[_plain(item) for item in sets] for sets, _ in case.data_sets]
    outputs = [[_plain(item) for item in sets] for _, sets in case.data_sets]
    return _case(case, case.model, inputs, outputs)


def _case(
    case: Any, model: onnx.ModelProto, inputs: list[list[Any]], outputs: list[list[Any]]
) -> Case:
    held = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in held]
    feeds = [dict(zip(names, given, strict=False)) for given in inputs]
    return Case(case.name, model, feeds, outputs, case.rtol, case.atol)


def _plain(item: Any) -> Any:
    return numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else item


def _tensor(path: Path) -> np.ndarray:
    return numpy_helper.to_array(onnx.load_tensor(path))


def _tensors(folder: Path, kind: str, ports: Any) -> list[Any]:
    """The values stored for inputs or outputs, in order."""
    found = []
    for index in range(len(list(folder.glob(f"{kind}_*.pb")))):
        data = (folder / f"{kind}_{index}.pb").read_bytes()
        holder = ports[index].type.WhichOneof("value")
        if holder == "sequence_type":
            sequence = onnx.SequenceProto.FromString(data)
            found.append(numpy_helper.to_list(sequence))
        elif holder == "optional_type":
            found.append(numpy_helper.to_optional(onnx.OptionalProto.FromString(data)))
        else:
            found.append(numpy_helper.to_array(onnx.TensorProto.FromString(data)))
    return found


def _ramps(model: onnx.ModelProto) -> list[Any]:
    """Inputs from 0 to 1, as ONNX's own runner of these networks makes them."""
    held = {tensor.name for tensor in model.graph.initializer}
    made = []
    for value in model.graph.input:
        if value.name not in held:
            dims = value.type.tensor_type.shape.dim
            shape = tuple(d.dim_value if d.HasField("dim_value") else 1 for d in dims)
            count = int(np.prod(shape))
            made.append((np.arange(count).reshape(shape) / count).astype(np.float32))
    return made
