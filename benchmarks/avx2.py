"""Bits of integer kernels on x86 without VNNI, under emulation, against those of this machine.

    python benchmarks/avx2.py QEMU_X86_64                       # models made to provoke saturation
    python benchmarks/avx2.py QEMU_X86_64 --set sample_models   # and those of a set
    python benchmarks/avx2.py QEMU_X86_64 --json avx2.json

QEMU_X86_64 is a static qemu-x86_64 of version 10 or newer (Debian: qemu-user of
bookworm-backports, unpacked with dpkg -x). It runs this very interpreter on `-cpu Haswell`: AVX2
without VNNI. Every operator that multiplies and adds 8-bit integers is taken out of onnxruntime's
optimized graph and run alone, on what it read on a sample and on random zeros and 255s: the same
bits in, the same bits out. Whole models are run as well; there float operators differ, as in fp32.
This machine has to have VNNI. Fails when bits differ that the plan does not warn of.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import common
import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

import edgeq
from edgeq.quantization.pairs import PairForm
from edgeq.recipe import Recipe
from edgeq.runtime.kernels import INT8_COMPUTE

_EMULATED = ("-cpu", "Haswell")
_WORKER = "--worker"
_HOURS = 4 * 3600
_FORMS = (("cpu", "full"), ("cpu", "auto"), ("x86-avx2", "narrow"), ("x86-avx2", "unsigned"))
_FLOAT_INSIDE = {"DynamicQuantizeLSTM": 1e-4}
"""Kernels that compute activation functions in float, and the relative difference this makes."""


@dataclass(frozen=True, slots=True)
class Case:
    """A quantized model and its kernels, ready to run.

    Attributes:
        name: Of the model.
        target: That it was quantized for.
        pairs: What the recipe said of pairs.
        unsafe: Layers of which the plan warns that two products can saturate.
        kernels: Integer kernels taken out of it.
        folder: Where it is.
    """

    name: str
    target: str
    pairs: str
    unsafe: int
    kernels: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Row:
    """What both computed.

    Attributes:
        name: Of the model.
        target: That it was quantized for.
        pairs: What the recipe said of pairs.
        unsafe: Layers of which the plan warns that two products can saturate.
        kernels: Integer kernels run alone.
        different: Those with other bits under emulation.
        worst: Largest difference of one, in steps of its output or, for float, relative.
        outputs: Largest difference of the model's outputs over the largest magnitude.
        floats: The same for the fp32 model.
    """

    name: str
    target: str
    pairs: str
    unsafe: int
    kernels: int
    different: int
    worst: float
    outputs: float
    floats: float


def work(root: Path) -> None:
    """Run every model of all folders on its inputs; what it computes goes beside it."""
    for path in sorted(root.glob("*/*.onnx")):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        if path.name.startswith("kernel"):
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        found = {}
        for number, feed in enumerate(_feeds(path)):
            for output, array in zip(session.get_outputs(), session.run(None, feed), strict=True):
                found[f"{number}/{output.name}"] = array
        np.savez(path.with_suffix(".out.npz"), **found)


def _feeds(path: Path) -> list[dict[str, np.ndarray]]:
    stored = np.load(path.with_suffix(".npz"))
    feeds: dict[str, dict[str, np.ndarray]] = {}
    for key in stored.files:
        number, _, name = key.partition("/")
        feeds.setdefault(number, {})[name] = stored[key]
    return [feeds[number] for number in sorted(feeds, key=int)]


def _store(path: Path, model: onnx.ModelProto, feeds: list[dict[str, np.ndarray]]) -> None:
    onnx.save(model, path)
    arrays = {f"{i}/{name}": a for i, feed in enumerate(feeds) for name, a in feed.items()}
    np.savez(path.with_suffix(".npz"), **arrays)


def _optimized(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.tmp")
    options.log_severity_level = 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = onnx.load(folder / "optimized.tmp")
    (folder / "optimized.tmp").unlink()
    return found


def _branchless(model: onnx.ModelProto, sample: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A copy whose whole numbers without axes, sampling rates and flags, are what the sample says.

    onnxruntime then puts the branches of If that they decide on into the main graph.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in model.graph.input:
        array = np.asarray(sample[value.name])
        if array.ndim == 0 and array.dtype.kind in "iub":
            copy.graph.input.remove(value)
            copy.graph.initializer.append(numpy_helper.from_array(array, value.name))
    return copy


def _kernels(model: onnx.ModelProto, sample: dict[str, np.ndarray], folder: Path) -> int:
    """Store each integer kernel of the main graph as a model of its own; how many there are."""
    graph = _optimized(_branchless(model, sample), folder)
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    chosen = [node for node in graph.graph.node if node.op_type in INT8_COMPUTE]
    inputs = {n: None for node in chosen for n in node.input if n and n not in constants}
    given = {value.name for value in graph.graph.input}
    watched = [name for name in inputs if name not in given]
    seen = dict(sample)
    if watched:
        exposed = onnx.ModelProto()
        exposed.CopyFrom(graph)
        known = {output.name for output in graph.graph.output}
        exposed.graph.output.extend(
            helper.make_empty_tensor_value_info(name) for name in watched if name not in known
        )
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        session = ort.InferenceSession(
            exposed.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        fed = {value.name: sample[value.name] for value in session.get_inputs()}
        seen |= dict(zip(watched, session.run(watched, fed), strict=True))
    for number, node in enumerate(chosen):
        read = {name: seen[name] for name in node.input if name in inputs}
        _store(
            folder / f"kernel{number:04}.onnx", _alone(node, read, constants, graph), _both(read)
        )
    return len(chosen)


def _alone(
    node: onnx.NodeProto,
    read: dict[str, np.ndarray],
    constants: dict[str, onnx.TensorProto],
    whole: onnx.ModelProto,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "kernel",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in read.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
        [constants[name] for name in dict.fromkeys(node.input) if name in constants],
    )
    return helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)


def _both(read: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What was read, and the ends of it in any order: zeros and 255s where it is uint8."""
    generator = np.random.default_rng(0)

    def ends(array: np.ndarray) -> np.ndarray:
        if array.dtype.kind not in "uif" or array.ndim == 0 or array.size < 2:
            return array
        low, high = (0, 255) if array.dtype == np.uint8 else (array.min(), array.max())
        return np.where(generator.random(array.shape) < 0.75, high, low).astype(array.dtype)

    return [read, {name: ends(array) for name, array in read.items()}]


def run(root: Path, command: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """What a run of the worker computes, by file."""
    script = [*command, sys.executable, str(Path(__file__).resolve()), _WORKER, str(root)]
    subprocess.run(script, check=True, timeout=_HOURS, stderr=subprocess.DEVNULL)
    return {str(p): dict(np.load(p)) for p in sorted(root.glob("*/*.out.npz"))}


def compared(
    case: Case,
    here: dict[str, dict[str, np.ndarray]],
    there: dict[str, dict[str, np.ndarray]],
) -> Row:
    """The differences of one case."""
    different, worst = 0, 0.0
    whole = {"int8": 0.0, "float": 0.0}
    for path in sorted(case.folder.glob("*.out.npz")):
        one, other = here[str(path)], there[str(path)]
        gap = max((_gap(array, other[key]) for key, array in one.items()), default=0.0)
        name = path.name.removesuffix(".out.npz")
        if name in whole:
            whole[name] = gap
        else:
            node = onnx.load(path.parent / f"{name}.onnx").graph.node[0]
            different += gap > _FLOAT_INSIDE.get(node.op_type, 0.0)
            worst = max(worst, gap)
    return Row(
        case.name, case.target, case.pairs, case.unsafe, case.kernels, different, worst,
        whole["int8"], whole["float"],
    )  # fmt: skip


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    if one.size == 0 or one.dtype.kind not in "uif":
        return 0.0 if np.array_equal(one, other) else float("inf")
    gap = float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())
    return gap if one.dtype.kind in "ui" else gap / max(float(np.abs(one).max()), 1e-30)


def prepare(name: str, model: Path, samples: list[dict[str, np.ndarray]], root: Path) -> list[Case]:
    """Quantize a model in every form, and take its kernels out."""
    cases = []
    for target, pairs in _FORMS:
        recipe = Recipe(calibrator="minmax", pairs=pairs, search=pairs == "auto")
        made = edgeq.quantize(
            str(model), samples, target=target, recipe=recipe, threads=1, validate=False
        )
        folder = Path(tempfile.mkdtemp(dir=root))
        made.save(folder / "made.tmp")
        proto = onnx.load(folder / "made.tmp")
        (folder / "made.tmp").unlink()
        _store(folder / "int8.onnx", proto, samples[:1])
        _store(folder / "float.onnx", onnx.load(model), samples[:1])
        kernels = _kernels(proto, samples[0], folder)
        unsafe = len({n.node for n in made.plan.pairs if n.form is PairForm.FULL})
        cases.append(Case(name, target, pairs, unsafe, kernels, folder))
    return cases


def provoking(folder: Path) -> dict[str, Path]:
    """Models whose weights are large and of one sign, step by step of the reduction."""
    found = {}
    for name, (text, shapes) in _TEXTS.items():
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\n{text}')
        generator = np.random.default_rng(1)
        for key, shape in shapes.items():
            weight = np.where(generator.random(shape) < 0.8, 1.0, -0.9).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(weight, key))
        found[name] = folder / f"{name}.onnx"
        onnx.save(model, found[name])
    return found


_TEXTS = {
    "conv 1x1": (
        "n (float[1,37,6,6] x) => (float[1,16,6,6] z) { z = Conv(x, w) }",
        {"w": (16, 37, 1, 1)},
    ),
    "conv 3x3, odd channels": (
        "n (float[1,5,8,8] x) => (float[1,16,6,6] z) { z = Conv(x, w) }",
        {"w": (16, 5, 3, 3)},
    ),
    "conv in 4 groups": (
        "n (float[1,16,8,8] x) => (float[1,16,6,6] z) { z = Conv<group=4>(x, w) }",
        {"w": (16, 4, 3, 3)},
    ),
    "conv depthwise": (
        "n (float[1,16,8,8] x) => (float[1,16,6,6] z) { z = Conv<group=16>(x, w) }",
        {"w": (16, 1, 3, 3)},
    ),
    "conv depthwise, two outputs each": (
        "n (float[1,8,8,8] x) => (float[1,16,6,6] z) { z = Conv<group=8>(x, w) }",
        {"w": (16, 1, 3, 3)},
    ),
    "conv 1d": (
        "n (float[1,6,20] x) => (float[1,16,18] z) { z = Conv(x, w) }",
        {"w": (16, 6, 3)},
    ),
    "conv 3d": (
        "n (float[1,3,5,5,5] x) => (float[1,8,3,3,3] z) { z = Conv(x, w) }",
        {"w": (8, 3, 3, 3, 3)},
    ),
    "gemm behind conv": (
        "n (float[1,4,4,4] x) => (float[1,20] z)"
        " { a = Conv(x, v) f = Flatten(a) z = Gemm<transB=1>(f, w) }",
        {"v": (8, 4, 1, 1), "w": (20, 128)},
    ),
    "matmul behind conv": (
        "n (float[1,8,6,16] x) => (float[1,8,6,24] z) { a = Conv(x, v) z = MatMul(a, w) }",
        {"v": (8, 8, 1, 1), "w": (16, 24)},
    ),
    "matmul, dynamic, long": (
        "n (float[5,1030] x) => (float[5,24] z) { z = MatMul(x, w) }",
        {"w": (1030, 24)},
    ),
    "lstm": (
        "n (float[7,1,12] x) => (float[7,1,1,8] z) { z = LSTM<hidden_size=8>(x, w, r) }",
        {"w": (1, 32, 12), "r": (1, 32, 8)},
    ),
    "matmul, dynamic, one row": (
        "n (float[1,515] x) => (float[1,24] z) { z = MatMul(x, w) }",
        {"w": (515, 24)},
    ),
}


def _shown(rows: list[Row]) -> str:
    header = ["model", "target", "pairs", "warned of", "kernels", "differ", "worst", "int8", "fp32"]
    cells = [
        [r.name, r.target, r.pairs, r.unsafe, r.kernels, r.different,
         f"{r.worst:.3g}", f"{r.outputs:.2g}", f"{r.floats:.2g}"]
        for r in rows
    ]  # fmt: skip
    return common.table(header, cells)


def _all(args: argparse.Namespace, root: Path) -> list[Row]:
    generator = np.random.default_rng(2)
    cases = []
    texts = root / "texts"
    texts.mkdir()
    for name, path in provoking(texts).items():
        shape = [d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
        samples = [
            {"x": generator.uniform(0, 1, shape).round().astype(np.float32)} for _ in range(8)
        ]
        cases += prepare(name, path, samples, root)
        path.unlink()
    if args.set is not None:
        for entry in common.read_set(args.set, args.models):
            cases += prepare(entry.name, entry.model, entry.samples(args.samples), root)
    here, there = run(root, []), run(root, [str(args.qemu), *_EMULATED])
    return [compared(case, here, there) for case in cases]


def main() -> int:
    """Compare, print and judge."""
    if len(sys.argv) == 3 and sys.argv[1] == _WORKER:
        work(Path(sys.argv[2]))
        return 0
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("qemu", type=Path, metavar="QEMU_X86_64", help="a static qemu-x86_64")
    made.add_argument("--set", type=Path, metavar="SET", help="folder of NAME/model.onnx")
    made.add_argument("--models", metavar="A,B", help="of the set, only these")
    made.add_argument("--samples", type=int, default=16, help="to calibrate on (16)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    args = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeq-avx2-") as folder:
        rows = _all(args, Path(folder))
    print(f"\n{common.machine()}\n\n{_shown(rows)}")
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    wrong = [row for row in rows if row.different and not row.unsafe]
    for row in wrong:
        print(f"{row.name} for {row.target} ({row.pairs}) differs, and nothing warns of it")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
