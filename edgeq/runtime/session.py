"""Opening a model in onnxruntime's CPU provider and running it."""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from edgeq.errors import DataError, ModelError
from edgeq.runtime.crashing import FUSION, crashes
from edgeq.runtime.memory import hand_back, let_go
from edgeq.runtime.running import RUNNING
from edgeq.runtime.seeds import seed_random

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.types import Array, Sample

VERSION: str = ort.__version__
"""Of the onnxruntime that models run in here."""

_SERIALIZED_LIMIT = 64_000_000
"""Bytes of tensors up to which a model is handed over in memory: as a message it exists twice more
before onnxruntime has a copy of its own, while data in a file is mapped by it."""

_FATAL_ONLY = 4

QUANTIZED: Final = "the quantized model"
"""How error messages call what edgeq made."""

_ENTRIES = {"session.force_spinning_stop": "1"}
"""Idle threads of a session spin for a while behind a run, and take a core from the session that
runs next: models timed in turn on two threads took up to three times as long (1.31)."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How a session is opened.

    Attributes:
        threads: Threads inside an operator; 0 lets onnxruntime choose.
        optimize: Whether onnxruntime may rewrite the graph.
        portable: Whether it leaves out what suits this machine only: other layouts.
        without: Names of its graph transformers to leave out.
        entries: ``SessionOptions.add_session_config_entry`` pairs, beside those of all sessions.
        reuse: Whether it plans which buffers to use again. The time that takes grows with the
            square of the number of values (2 s for 3000 nodes); without it they are freed and
            allocated as the run goes.
    """

    threads: int = 0
    optimize: bool = True
    portable: bool = False
    without: tuple[str, ...] = ()
    entries: Mapping[str, str] = field(default_factory=dict)
    reuse: bool = True


class Session:
    """A model that onnxruntime has loaded.

    Args:
        model: The model, in memory or as a file.
        config: How to open it.
        optimized_path: Where onnxruntime shall write its own optimized graph; None for nowhere.
        profile_prefix: Beginning of the file that a profile is written to; None for no profile.
        what: How an error message calls the model.

    Raises:
        ModelError: onnxruntime refuses the model.
    """

    def __init__(
        self,
        model: ir.Model | Path,
        config: SessionConfig | None = None,
        *,
        optimized_path: Path | None = None,
        profile_prefix: Path | None = None,
        what: str = "the model",
    ) -> None:
        config = config or SessionConfig()
        options = _options(config, optimized_path, profile_prefix)
        without = config.without
        if isinstance(model, ir.Model) and crashes(model):
            without = (*without, FUSION)
        self._what = what
        self._is_large = isinstance(model, ir.Model) and tensor_bytes(model) > _SERIALIZED_LIMIT
        try:
            self._ort = ort.InferenceSession(
                self._source(model),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=list(without),
            )
        except Exception as error:
            raise ModelError(
                f"onnxruntime {VERSION} does not load {what}: {first_line(error)}",
                remedy="Check it with onnx.checker, or try a newer onnxruntime",
            ) from error
        self.inputs: tuple[str, ...] = tuple(i.name for i in self._ort.get_inputs())
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._ort.get_outputs())
        self._defaults = tuple(i.name for i in self._ort.get_overridable_initializers())

    def _source(self, model: ir.Model | Path) -> bytes | str:
        if isinstance(model, Path):
            return str(model)
        if not self._is_large:
            proto = ir.to_proto(_in_memory(model))
            seed_random(proto.graph)
            return bytes(proto.SerializeToString())
        folder = Path(tempfile.mkdtemp(prefix="edgeq-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        path = folder / "model.onnx"
        ir.save(model, path, external_data="model.onnx.data")
        # Before onnxruntime takes its own, what was in use before and for saving goes back.
        hand_back()
        let_go(*(value.const_value for value in _initializers(model)))
        return str(path)

    def run(self, sample: Sample, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run once.

        Args:
            sample: Input name -> array. Names that the model does not have are left out; so may be
                inputs that have a default.
            outputs: The outputs to hand out; all when None. It is run where there are none, too.

        Returns:
            Output name -> array.

        Raises:
            DataError: onnxruntime refuses the sample.
        """
        names = list(self.outputs if outputs is None else outputs)
        feed = {name: sample[name] for name in (*self.inputs, *self._defaults) if name in sample}
        begun = time.perf_counter()
        try:
            results = self._ort.run(names or None, feed)
        except Exception as error:
            shapes = ", ".join(f"{k} {list(np.shape(v))}" for k, v in feed.items())
            raise DataError(
                f"{self._what} does not run on a sample of shapes {shapes}: {first_line(error)}",
                remedy=self._remedy(feed),
            ) from error
        finally:
            RUNNING.add(time.perf_counter() - begun)
        return dict(zip(names, results, strict=bool(names)))

    def _remedy(self, feed: Sample) -> str:
        """What to do about a sample that the model does not run on."""
        sizes: dict[str, tuple[str, int]] = {}
        for given in self._ort.get_inputs():
            fed = np.shape(feed[given.name]) if given.name in feed else ()
            for symbol, size in zip(given.shape, fed, strict=False):
                other, before = sizes.setdefault(str(symbol), (given.name, size))
                if isinstance(symbol, str) and size != before:
                    return (
                        f"The model calls sizes of {other!r} and {given.name!r} both {symbol!r}, "
                        f"and here they are {before} and {size}: give each a name of its own"
                    )
        if self._what == QUANTIZED:
            return "The original does: --exclude the node that fails"
        return "Feed samples shaped as the model takes them"

    def __del__(self) -> None:
        if getattr(self, "_is_large", False):
            self.__dict__.pop("_ort", None)
            hand_back()

    def end_profiling(self) -> Path:
        """Stop the profile that was asked for, and tell where it is."""
        return Path(self._ort.end_profiling())


def _options(
    config: SessionConfig, optimized_path: Path | None, profile_prefix: Path | None
) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = config.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    options.enable_mem_reuse = config.reuse
    level = ort.GraphOptimizationLevel
    most = level.ORT_ENABLE_EXTENDED if config.portable else level.ORT_ENABLE_ALL
    options.graph_optimization_level = most if config.optimize else level.ORT_DISABLE_ALL
    for key, value in (_ENTRIES | dict(config.entries)).items():
        options.add_session_config_entry(key, value)
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    if optimized_path is not None:
        options.optimized_model_filepath = str(optimized_path)
    return options


def _in_memory(model: ir.Model) -> ir.Model:
    """The model with the data that is in files read: a message that names files has no folder."""
    stored = (v.const_value for g in model.graphs() for v in g.initializers.values())
    if not any(isinstance(tensor, ir.ExternalTensor) for tensor in stored):
        return model
    copy = model.clone()
    for value in _initializers(copy):
        mapped = value.const_value
        if isinstance(mapped, ir.ExternalTensor):
            data = mapped.numpy().copy()
            value.const_value = ir.Tensor(data, mapped.dtype, shape=mapped.shape, name=mapped.name)
            let_go(mapped)
    return copy


def _initializers(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.initializers.values()


def tensor_bytes(model: ir.Model) -> int:
    """Bytes of all initializers, bodies included."""
    return sum(v.const_value.nbytes for v in _initializers(model) if v.const_value is not None)


def first_line(error: BaseException) -> str:
    """The first line of a runtime's error message, without its status prefix."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text.removeprefix("[ONNXRuntimeError] : ")[:400]
