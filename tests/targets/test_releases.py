"""Which onnxruntime a model needs: what decides it, and that edgeq keeps to its own bound."""

import re
import tomllib
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from edgeq.errors import UnsupportedError
from edgeq.targets import TARGETS, releases, target_named
from edgeq.targets.releases import OLDEST, Need, needed, needed_on, release_in, require

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def model(body, opset=17, ir_version=8, **constants):
    return built(f"net (float[n,8] x, int64[n] places) => (float[n,m] y) {{ {body} }}",
                 opset, ir_version, **constants)  # fmt: skip


def built(text, opset=17, ir_version=8, **constants):
    imports = f'"": {opset}, "com.microsoft": 1'
    proto = parser.parse_model(f"<ir_version: {ir_version}, opset_import: [{imports}]>\n{text}")
    for name, array in constants.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return ir.from_proto(proto)


def product(bits):
    return model(
        f"y = com.microsoft.MatMulNBits<K=8, N=4, bits={bits}, block_size=16>(x, codes, scales)",
        codes=np.zeros((4, 1, 2 * bits), np.uint8), scales=np.ones((4, 1), np.float32),
    )  # fmt: skip


def lookup(bits=8, blocks=2, **zeros):
    attributes = f"bits={bits}, block_size=16, gather_axis=0, quantize_axis=1"
    inputs = ", ".join(["codes", "places", "scales", *zeros])
    return model(
        f"y = com.microsoft.GatherBlockQuantized<{attributes}>({inputs})",
        codes=np.zeros((4, blocks * 2 * bits), np.uint8),
        scales=np.ones((4, blocks), np.float32), **zeros,
    )  # fmt: skip


def attention(attributes):
    return model(
        "y = com.microsoft.GroupQueryAttention"
        f"<num_heads=1, kv_num_heads=1{attributes}>(x, x, x, x, x, places, places)"
    )


def pair(opset, attributes="", ir_version=8):
    body = f"q = QuantizeLinear(x, scale) y = DequantizeLinear{attributes}(q, scale)"
    return model(body, opset, ir_version, scale=np.array(1, np.float32))


def resized(mode, behind="Conv(r, w)"):
    body = f"""c = Conv(x, w) q = QuantizeLinear(c, one) d = DequantizeLinear(q, one)
      s = Resize<mode = "{mode}">(d, , sizes) p = QuantizeLinear(s, one)
      r = DequantizeLinear(p, one) y = {behind}"""
    ones = {n: np.ones(shape, np.float32) for n, shape in (("one", ()), ("w", (1, 1, 1, 1)))}
    return model(body, sizes=np.array([1, 1, 2, 2], np.float32), **ones)


ZEROS = np.zeros((4, 2), np.uint8)


@pytest.mark.parametrize(
    ("made", "since", "reasons"),
    [
        (model("y = Relu(x)", 22), (1, 21), ["opset 22"]),
        (model("y = Relu(x)", 25, 12), (1, 24), ["opset 25", "IR version 12"]),
        (model("y = Relu(x)", 17, 11), (1, 23), ["IR version 11"]),
        (pair(23), (1, 24), ["Q/DQ from opset 23 on"]),
        (product(8), (1, 22), ["MatMulNBits with 8 bits"]),
        (product(2), (1, 24), ["MatMulNBits with 2 bits"]),
        (lookup(8), (1, 23), ["GatherBlockQuantized of uint8"]),
        (lookup(2), (1, 27), ["GatherBlockQuantized with 2 bits"]),
        (lookup(4, 2, zeros=ZEROS), (1, 23), ["GatherBlockQuantized of uint8"]),
        (lookup(4, 3), (1, 23), ["GatherBlockQuantized of uint8"]),
        (lookup(8, 3, zeros=ZEROS), (1, 23), ["GatherBlockQuantized of uint8"]),
        (
            lookup(4, 3, zeros=ZEROS),
            (1, 27),
            ["GatherBlockQuantized with 4 bits and zero points for an odd number of blocks"],
        ),
        (resized("cubic"), (1, 22), ["cubic Resize between Conv in integers"]),
        (attention(", causal=0"), (1, 30), ["GroupQueryAttention with the attribute causal"]),
    ],
)
def test_what_a_model_needs(made, since, reasons):
    assert needed(made) == Need(since, tuple(reasons))


@pytest.mark.parametrize(
    "made",
    [
        model("y = Relu(x)"),
        model("y = Relu(x)", 21, 10),
        pair(19),
        product(4),
        attention(""),
        resized("linear"),
        resized("cubic", "Relu(r)"),
    ],
)
def test_what_the_oldest_release_runs_needs_nothing(made):
    assert needed(made) is None


def test_bodies_count_as_well():
    text = """net (float[n,8] x, bool wide) => (float[n,4] y) {
      y = If(wide) <then_branch = a () => (float[n,4] u) {
            u = com.microsoft.MatMulNBits<K=8, N=4, bits=8, block_size=16>(x, codes, scales) },
          else_branch = b () => (float[n,4] v) { v = Slice(x, zero, four, one) }> }"""
    made = built(
        text, codes=np.zeros((4, 1, 16), np.uint8), scales=np.ones((4, 1), np.float32),
        zero=np.array([0]), four=np.array([4]), one=np.array([1]),
    )  # fmt: skip
    assert needed(made).since == (1, 22)


def test_operators_of_others_and_versions_of_the_future_are_no_reason():
    assert needed(model("y = mine.MatMulNBits<bits=8>(x)")) is None
    assert needed(model("y = com.microsoft.Unheard<bits=8>(x)")) is None
    made = model("y = Relu(x)")
    made.opset_imports[""], made.ir_version = 99, 99
    assert needed(made) is None


def test_what_older_releases_lack_is_known_where_it_is_asked_for():
    assert needed(pair(19), (1, 15)) == Need((1, 16), ("Q/DQ from opset 19 on",))
    in_blocks = pair(21, "<block_size=16, axis=1>", 10)
    assert needed(in_blocks, (1, 16)) == Need((1, 19), ("DequantizeLinear in blocks",))
    assert needed(in_blocks, (1, 19)) is None


def test_the_text_names_the_release_and_all_reasons():
    assert str(needed(model("y = Relu(x)", 25, 12))) == (
        "onnxruntime 1.24 or newer (opset 25, IR version 12)"
    )


def test_only_targets_with_the_runtimes_own_operators_are_meant():
    told = {t.name for t in TARGETS if needed_on(product(8), t) is not None}
    assert {"cpu", "arm64", "wasm"} <= told
    assert not told & {"tensorrt", "qnn-htp", "edge-generic"}
    assert needed_on(product(8), None) is None
    assert needed_on(product(4), target_named("cpu")) is None


@pytest.mark.parametrize("installed", ["1.20.1", "1.21.0"])
def test_an_installed_runtime_that_is_too_old_is_told(installed):
    with pytest.raises(UnsupportedError, match=rf"1\.22 or newer \(MatMul.*{installed}.*--upgrade"):
        require(product(8), installed)


def test_pairs_that_no_release_runs_are_told_until_there_is_one_that_is_not_known():
    with pytest.raises(UnsupportedError, match=r"no onnxruntime up to 1.32 .* 27 or older"):
        require(pair(28), "1.32.0")
    require(pair(28), "1.33.0")
    require(pair(27), "1.32.0")
    require(model("y = Relu(x)", 28), "1.32.0")


@pytest.mark.parametrize("installed", ["1.22.0", "1.31.1", "2.0", "a build of mine"])
def test_any_other_is_taken(installed):
    require(product(8), installed)


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("1.23.2", (1, 23)),
        ("1.30.0-dev.20261101", (1, 30)),
        ("2.0", (2, 0)),
        ("x", None),
        ("", None),
    ],
)
def test_versions_are_read(text, release):
    assert release_in(text) == release


def test_the_oldest_release_is_the_one_that_the_package_asks_for():
    wanted = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    (bound,) = [
        re.fullmatch(r"onnxruntime>=(.+)", each) for each in wanted if "onnxruntime" in each
    ]
    assert release_in(bound[1]) == OLDEST


def test_what_releases_read_only_grows():
    rows = [(each.since, each.opset, each.ir_version) for each in releases.READS]
    assert all(list(column) == sorted(column) for column in zip(*rows, strict=True))


def test_the_installed_runtime_reads_what_the_table_says(tmp_path):
    here = release_in(onnxruntime.__version__)
    newest = [each for each in releases.READS if each.since <= here][-1]
    made = model("y = Relu(x)", newest.opset, newest.ir_version)
    ir.save(made, tmp_path / "m.onnx")
    onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
