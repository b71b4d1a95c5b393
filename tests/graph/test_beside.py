"""A second version of a model inside the first one computes what it computes by itself."""

import graphs
import numpy as np
import pytest

from edgeq.graph.beside import add_segments, add_whole, settle
from edgeq.graph.check import check
from edgeq.runtime.session import Session

IO = "n (float[1,4] x) => (float[1,4] z)"
ROW = np.array([[1, -2, 3, -4]], np.float32)
PLAIN = f"{IO} {{ [a] y = Neg(x) [b] v = Abs(y) [c] z = Mul(v, w) }}"
ROUNDED = f"""{IO} {{
    [a] y = Neg(x)
    q = QuantizeLinear(y, s, k) y_dequantized = DequantizeLinear(q, s, k)
    [b] v = Abs(y_dequantized)
    [c] z = Mul(v, w)
}}"""
W = np.full((1, 4), 3, np.float32)
NUMBERS = {"w": W, "s": np.array(0.75, np.float32), "k": np.array(0, np.int8)}


def told(host, found, sample):
    """What the guest makes and what its readers see, by name."""
    host.graph.outputs.clear()
    wanted = list(dict.fromkeys(v for pair in found.values() for v in (pair.made, pair.read)))
    host.graph.outputs.extend(wanted)
    settle(host)
    check(host)
    arrays = Session(host, graphs.UNOPTIMIZED).run(sample)
    return {name: (arrays[p.made.name], arrays[p.read.name]) for name, p in found.items()}


def rounded(array):
    return np.clip(np.rint(array / 0.75), -128, 127) * np.float32(0.75)


def test_a_whole_guest_carries_its_errors_on():
    host = graphs.build(PLAIN, w=W)
    found = add_whole(host, graphs.build(ROUNDED, **NUMBERS))
    assert {name: (p.rounds, p.node) for name, p in found.items()} == {
        "y": (False, "a"), "v": (True, "b"), "z": (False, "c"),
    }  # fmt: skip
    arrays = told(host, found, {"x": ROW})
    np.testing.assert_array_equal(arrays["y"][0], -ROW)
    np.testing.assert_array_equal(arrays["y"][1], rounded(-ROW))
    np.testing.assert_allclose(arrays["z"][0], np.abs(rounded(-ROW)) * 3)


def test_segments_read_what_the_host_computes():
    host = graphs.build(PLAIN, w=W)
    found = add_segments(host, graphs.build(ROUNDED, **NUMBERS))
    # Nothing rounds between v and z, nor before y.
    assert found.keys() == {"v"}
    np.testing.assert_array_equal(told(host, found, {"x": ROW})["v"][0], np.abs(rounded(-ROW)))


def test_both_at_once_do_not_disturb_each_other():
    host, guest = graphs.build(PLAIN, w=W), graphs.build(ROUNDED, **NUMBERS)
    before = graphs.show(guest)
    whole, pieces = add_whole(host, guest), add_segments(host, guest)
    assert graphs.show(guest) == before
    both = {f"{k}1": v for k, v in whole.items()} | {f"{k}2": v for k, v in pieces.items()}
    arrays = told(host, both, {"x": ROW})
    np.testing.assert_array_equal(arrays["v1"][0], arrays["v2"][0])


def test_constants_that_both_have_are_stored_once():
    host = graphs.build(PLAIN, w=W)
    guest = host.clone()
    add_whole(host, guest)
    assert list(host.graph.initializers) == ["w"]


def test_a_quantized_output_of_the_model_is_told_by_its_dequantized_side():
    text = f"""{IO} {{
        [a] y = Neg(x) [b] v = Abs(y)
        p = QuantizeLinear(v, s, k) r = DequantizeLinear(p, s, k) [c] raw = Mul(r, w)
        q = QuantizeLinear(raw, s, k) z = DequantizeLinear(q, s, k)
    }}"""
    host = graphs.build(PLAIN, w=W)
    found = add_segments(host, graphs.build(text, **NUMBERS))
    assert found["z"].node == "c"
    made, read = told(host, found, {"x": ROW})["z"]
    np.testing.assert_array_equal(made, rounded(np.abs(ROW)) * 3)
    np.testing.assert_array_equal(read, rounded(rounded(np.abs(ROW)) * 3))


BRANCHES = """n (float[1,4] x, bool c) => (float[1,4] z) {
    [choose] y = If (c) <
        then_branch = t () => (float[1,4] a) { %s },
        else_branch = e () => (float[1,4] d) { d = Abs(x) }
    >
    z = Neg(y)
}"""
THEN = "[inner] b = Neg(x) a = Abs(b)"
ROUNDED_THEN = """[inner] b = Neg(x) q = QuantizeLinear(b, s, k) r = DequantizeLinear(q, s, k)
    a = Abs(r)"""


@pytest.mark.parametrize("add", [add_whole, add_segments])
@pytest.mark.parametrize("taken", [True, False])
def test_bodies_of_an_if_are_put_into_the_hosts(add, taken):
    host = graphs.build(BRANCHES % THEN)
    numbers = {name: NUMBERS[name] for name in ("s", "k")}
    found = add(host, graphs.build(BRANCHES % ROUNDED_THEN, **numbers))
    assert found["a"].made.producer().graph is found["a"].reference.producer().graph
    assert [node.op_type for node in host.graph if node.op_type == "If"] == ["If"]
    sample = {"x": ROW, "c": np.array(taken)}
    if add is add_whole:
        outer = {name: found[name] for name in ("y", "z")}
        arrays = told(host, outer, sample)
        np.testing.assert_array_equal(arrays["z"][0], -np.abs(rounded(-ROW) if taken else ROW))


def test_a_loop_stays_whole_beside_the_host_and_is_cut_in_segments():
    text = """n (float[1,4] x, int64 trips, bool go) => (float[1,4] z) {
        [loop] z = Loop (trips, go, x) <
            body = b (int64 i, bool c, float[1,4] s0) => (bool d, float[1,4] t) {
                d = Identity(c) %s t = Neg(u)
            }
        >
    }"""
    guest = "q = QuantizeLinear(s0, s, k) r = DequantizeLinear(q, s, k) [in] u = Abs(r)"
    numbers = {name: NUMBERS[name] for name in ("s", "k")}
    host = graphs.build(text % "[in] u = Abs(s0)")
    found = add_whole(host, graphs.build(text % guest, **numbers))
    assert found.keys() == {"z"}
    sample = {"x": ROW, "trips": np.array(2, np.int64), "go": np.array(True)}
    once = -np.abs(rounded(ROW))
    np.testing.assert_array_equal(told(host, found, sample)["z"][0], -np.abs(rounded(once)))
    host = graphs.build(text % "[in] u = Abs(s0)")
    found = add_segments(host, graphs.build(text % guest, **numbers))
    assert found.keys() == {"u"}
    assert [node.op_type for node in host.graph] == ["Loop"]


def test_operators_of_other_domains_come_with_their_imports():
    host, guest = graphs.build(PLAIN, w=W), graphs.build(PLAIN, w=W)
    guest.graph.opset_imports["com.microsoft"] = 1
    add_whole(host, guest)
    assert host.graph.opset_imports["com.microsoft"] == 1


def test_values_of_other_types_have_no_counterparts():
    text = "n (float[1,4] x) => (int64[1,4] z) { y = Neg(x) z = Cast<to=7>(y) }"
    assert add_whole(graphs.build(text), graphs.build(text)).keys() == {"y"}
