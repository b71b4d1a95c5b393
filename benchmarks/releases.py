"""What releases of onnxruntime make of models as edgeq writes them: edgeq/targets/releases.py.

    pip download --no-deps -d wheels onnxruntime==1.22.1      # as many as wanted, each unzipped
    python benchmarks/releases.py u1.20.1 u1.22.1 u1.32.0     # the folders that hold onnxruntime/

Each model is made and run here, then loaded by the other releases. A cell is how far outputs are
off there, relative to the largest number: not every release rounds what a product reads to 8 bits
where it is asked to. "no" is a model that does not run. The last columns: the release from which
on all are right, and the one that edgeq tells.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from common import table
from onnx import numpy_helper, parser

import edgeq
from edgeq.graph import saver
from edgeq.runtime.session import Session
from edgeq.targets.releases import OLDEST, needed, release_in, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

CLOSE = 0.03

RUN = """
import json, sys
import numpy as np, onnxruntime as ort
def run(path):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    stored = np.load(path + ".npz")
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feed = {k[3:]: stored[k] for k in stored.files if k.startswith("in ")}
        answers = session.run(None, feed)
    except Exception:
        return None
    wanted = [stored["out " + port.name].astype(float) for port in session.get_outputs()]
    return max(float(abs(w - a).max() / abs(w).max()) for w, a in zip(wanted, answers))
print(json.dumps([ort.__version__, [run(path) for path in sys.argv[1:]]]))
"""

NET = """net (float[n,4,8,8] x) => (float[n,5] y) {
  a = Conv<pads = [1, 1, 1, 1]>(x, k) b = Relu(a) c = Conv<pads = [1, 1, 1, 1]>(b, k)
  d = GlobalAveragePool(c) e = Flatten(d) y = Gemm(e, w) }"""

CUBIC = """net (float[n,4,8,8] x) => (float[n,4,16,16] y) {
  a = Conv(x, k) b = Resize<mode = "cubic">(a, , s) y = Conv(b, k) }"""

PERCEPTRON = """net (float[n,64] x) => (float[n,48] y) {
  a = MatMul(x, w) b = Relu(a) y = Gemm(b, v, c) }"""

LOOKUP = "net (int64[n,s] t) => (float[n,s,m] y) { e = Gather(w, t) y = Relu(e) }"

ATTENTION = """net (float[b,s,64] x, float[b,2,past,8] past_k, float[b,2,past,8] past_v)
    => (float[b,s,64] y, float[b,2,all,8] k, float[b,2,all,8] v) {
  q1 = MatMul(x, wq) q2 = Reshape(q1, heads) q = Transpose<perm = [0, 2, 1, 3]>(q2)
  k1 = MatMul(x, wk) k2 = Reshape(k1, heads) k3 = Transpose<perm = [0, 2, 1, 3]>(k2)
  v1 = MatMul(x, wv) v2 = Reshape(v1, heads) v3 = Transpose<perm = [0, 2, 1, 3]>(v2)
  k = Concat<axis = 2>(past_k, k3) v = Concat<axis = 2>(past_v, v3)
  turned = Transpose<perm = [0, 1, 3, 2]>(k) raw = MatMul(q, turned) scores = Mul(raw, scale)
  p = Softmax<axis = -1>(scores) m = MatMul(p, v) m1 = Transpose<perm = [0, 2, 1, 3]>(m)
  m2 = Reshape(m1, flat) y = MatMul(m2, wo) }"""


def main() -> None:
    """Make the models, run them in every release and print what becomes of them."""
    line = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    line.add_argument("folders", nargs="+", type=Path, help="unpacked wheels of onnxruntime")
    folders = line.parse_args().folders
    rows, paths = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name, model, feed in cases():
            paths.append(Path(scratch) / f"{len(paths)}.onnx")
            _store(paths[-1], model, feed)
            need = needed(model)
            rows.append([name, written(OLDEST if need is None else need.since)])
        found = sorted((_ran(folder, paths) for folder in folders), key=lambda row: row[0])
    for place, row in enumerate(rows):
        cells = [answers[place] for _, answers in found]
        row[1:1] = [*map(_shown, cells), _first([release for release, _ in found], cells)]
    print(table(["model", *(written(r) for r, _ in found), "first", "edgeq tells"], rows))


def _store(path: Path, model: ir.Model, feed: dict[str, Any]) -> None:
    saver.save(model, path)
    answers = Session(path).run(feed)
    arrays = {f"in {k}": v for k, v in feed.items()} | {f"out {k}": v for k, v in answers.items()}
    np.savez(f"{path}.npz", **arrays)


def _ran(folder: Path, paths: list[Path]) -> tuple[tuple[int, int], list[float | None]]:
    """A release, and how far each model is off in it; None where it does not run."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "ORT_DISABLE_TELEMETRY": "1"}
    words = [sys.executable, "-c", RUN, *map(str, paths)]
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE)
    version, cells = json.loads(done.stdout)
    return release_in(version) or (0, 0), cells


def _shown(cell: float | None) -> str:
    if cell is None:
        return "no"
    return f"{cell:.0e}" if cell <= CLOSE else f"WRONG: {cell:.1g}"


def _first(releases: list[tuple[int, int]], cells: list[float | None]) -> str:
    wrong = [r for r, cell in zip(releases, cells, strict=True) if cell is None or cell > CLOSE]
    return next((written(r) for r in releases if r > max(wrong, default=(0, 0))), "none")


def cases() -> Iterator[tuple[str, ir.Model, dict[str, Any]]]:
    """Names, models as edgeq writes them, and what they are fed."""
    pictures = [{"x": _numbers(seed, 1, 4, 8, 8)} for seed in range(8)]
    for opset in (17, 19, 21, 22, 23, 24, 25, 26):
        net = _proto(NET, opset, k=_numbers(0, 4, 4, 3, 3), w=_numbers(1, 4, 5))
        yield f"int8, opset {opset}", _quantized(net, pictures), pictures[0]
    net = _proto(CUBIC, k=_numbers(0, 4, 4, 1, 1), s=np.array([1, 1, 2, 2], np.float32))
    yield "int8, cubic Resize", _quantized(net, pictures), pictures[0]
    rows = [{"x": _numbers(seed, 5, 64)} for seed in range(8)]
    sizes = {"w": (64, 128), "v": (128, 48), "c": (48,)}
    net = _proto(PERCEPTRON, 21, **{n: _numbers(1, *s, scale=0.2) for n, s in sizes.items()})
    for scheme in ("dynamic", "fp16", "bf16", "w8", "w4", "w2"):
        yield scheme, _quantized(net, rows, scheme=scheme), rows[0]
    for scheme in ("w8", "w4"):
        yield (
            f"{scheme} as Q/DQ",
            _quantized(net, rows, scheme=scheme, weight_format="qdq"),
            rows[0],
        )
    for bits in (8, 4, 2):
        for blocks in (2, 3):
            tokens = {"t": np.arange(12).reshape(2, 6)}
            net = _proto(LOOKUP, w=_numbers(2, 400, 16 * blocks))
            how: dict[str, Any] = {"layer_bits": {"*": bits}, "block_size": 16}
            made = _quantized(net, scheme=f"w{bits}", **how)
            yield f"w{bits}, looked up in {blocks} blocks", made, tokens
    sizes = {"wq": (64, 16), "wk": (64, 16), "wv": (64, 16), "wo": (16, 64)}
    constants = {n: _numbers(3, *s, scale=0.2) for n, s in sizes.items()}
    shapes = {"heads": np.array([0, 0, 2, 8]), "flat": np.array([0, 0, 16])}
    net = _proto(ATTENTION, **constants, **shapes, scale=np.float32(0.3))
    for cache, kind in (("float32", np.float32), ("int8", np.int8)):
        made = _quantized(net, [_step(seed) for seed in range(4)], scheme="w8", kv_cache=cache)
        feed = {k: v.astype(kind) if k != "x" else v for k, v in _step(9).items()}
        yield f"w8, cache in {cache}", made, feed


def _step(seed: int) -> dict[str, Any]:
    past = {name: _numbers(seed, 1, 2, 3, 8) for name in ("past_k", "past_v")}
    return {"x": _numbers(seed, 1, 4, 64), **past}


def _quantized(model: onnx.ModelProto, data: Any = None, **options: Any) -> ir.Model:
    return edgeq.quantize(model, data, latency_tuning=False, **options).model


def _proto(text: str, opset: int = 17, **constants: Any) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}')
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return model


def _numbers(seed: int, *shape: int, scale: float = 1.0) -> Any:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


if __name__ == "__main__":
    main()
