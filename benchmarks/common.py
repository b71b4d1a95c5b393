"""What the benchmarks share: reading a set of models.

A set is a folder of NAME/{model.onnx, calib/, eval/eval.npz, metric.py}, like ``sample_models/``.
A file NAME/info.json may say under ``metric`` which key of ``metric.score`` is the main one and
whether higher is better; without it the main one is the first key, and higher is better unless
its name is among :data:`LOWER_IS_BETTER`.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import platform
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from edgeq.api.measuring import input_specs
from edgeq.calibration.sources import open_source
from edgeq.graph import loader
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import onnx

    from edgeq.types import Sample

LOWER_IS_BETTER = ("bits_per_char", "perplexity", "loss", "nll")
"""Metrics of sets without info.json for which lower is better."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of a set, its data and its metric.

    Attributes:
        name: Name of its folder.
        folder: The folder.
    """

    name: str
    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def calib(self) -> Path:
        return self.folder / "calib"

    @property
    def eval(self) -> Path:
        return self.folder / "eval" / "eval.npz"

    def metric(self) -> str:
        """The main metric as ``edgeq quantize --metric`` takes it."""
        info = self.folder / "info.json"
        if info.is_file():
            declared = json.loads(info.read_text())["metric"]
            key, higher = declared["main"], declared["higher_is_better"]
        else:
            key = _first_key(self)
            higher = key not in LOWER_IS_BETTER
        return f"{'' if higher else '-'}{self.folder / 'metric.py'}:score#{key}"

    def samples(self, count: int) -> list[Sample]:
        """The first ``count`` calibration samples, in memory."""
        return self._read(self.calib, count)

    def held_out(self, count: int) -> list[Sample]:
        """The first ``count`` samples that calibration never sees, in memory."""
        return self._read(self.eval, count)

    def _read(self, data: Path, count: int) -> list[Sample]:
        specs = input_specs(loader.load(self.model).model)
        return list(open_source(data, specs, max_samples=count))


def read_set(folder: Path, names: str | None) -> list[Entry]:
    """The models of a set.

    Args:
        folder: The set.
        names: Those wanted, separated by commas; all when None.
    """
    found = {
        path.parent.name: Entry(path.parent.name, path.parent.resolve())
        for path in sorted(folder.glob("*/model.onnx"))
    }
    if not found:
        raise SystemExit(f"{folder}: no NAME/model.onnx in it")
    wanted = list(found) if names is None else names.split(",")
    unknown = [name for name in wanted if name not in found]
    if unknown:
        raise SystemExit(f"{folder}: no {', '.join(unknown)}; there are {', '.join(found)}")
    return [found[name] for name in wanted]


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with what every benchmark takes."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("set", type=Path, metavar="SET", help="folder of NAME/model.onnx")
    made.add_argument("--models", metavar="A,B", help="only these; default: all")
    made.add_argument("--threads", type=int, default=1, help="of onnxruntime (1)")
    return made


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine() -> str:
    """One line about where the figures come from, as they mean little without it."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return (
        f"onnxruntime {onnxruntime.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}"
    )


def cycled(samples: Sequence[Sample], count: int) -> Iterator[Sample]:
    """``count`` samples, the given ones over and over again."""
    return itertools.islice(itertools.cycle(samples), count)


def operators(model: onnx.ModelProto) -> Counter[str]:
    """How often each operator computes: bodies count, functions count where they are called.

    Constant nodes do not count, as they are initializers spelled as nodes.
    """
    functions = {(f.domain, f.name): f for f in model.functions}

    def counted(nodes: Iterable[onnx.NodeProto]) -> Counter[str]:
        found: Counter[str] = Counter()
        for node in nodes:
            function = functions.get((node.domain, node.op_type))
            if function is not None:
                found += counted(function.node)
            elif node.op_type != "Constant":
                found[node.op_type] += 1
            for attribute in node.attribute:
                for body in (attribute.g, *attribute.graphs):
                    found += counted(body.node)
        return found

    return counted(model.graph.node)


def _first_key(entry: Entry) -> str:
    """The key that ``score`` returns first, asked with the outputs of the float model."""
    with np.load(entry.eval) as file:
        arrays = {name: file[name][:4] if file[name].ndim else file[name] for name in file.files}
    labels = {n.removeprefix("label_"): a for n, a in arrays.items() if n.startswith("label_")}
    inputs = {n: a for n, a in arrays.items() if not n.startswith("label_")}
    session = Session(entry.model, SessionConfig(threads=1))
    count = len(next(iter(inputs.values())))
    outputs = [session.run({n: a[i] for n, a in inputs.items()}) for i in range(count)]
    return str(next(iter(_load_score(entry.folder / "metric.py")(outputs, labels))))


def _load_score(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("metric", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.score
