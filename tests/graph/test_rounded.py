"""Side branches round one value each, for those that read it so."""

import graphs
import numpy as np
import onnx_ir as ir

from edgeq.graph.beside import settle
from edgeq.graph.meters import Meters
from edgeq.graph.rounded import Wanted, add_branches
from edgeq.runtime.session import Session

ROW = np.array([[0.26, -0.6, 1.1, 3.0]], np.float32)
U8 = ir.DataType.UINT8


def noise(text, wanted, numbers, dropped=(), **constants):
    """Per reader the energy of the error, with a step of 0.5 and the zero point 2."""
    model = graphs.build(text, **constants)
    branches, meters = add_branches(model, wanted, dropped), Meters(model)
    feed = {"x": ROW}
    for name, branch in branches.items():
        meters.compare((name, ""), branch.reference, branch.rounded)
        for reader in branch.readers:
            meters.compare((name, reader.node), reader.reference, reader.other)
        feed[branch.scale] = np.array(numbers, np.float32)
        feed[branch.zero_point] = np.array(2, np.uint8)
    readings = meters.finish()
    settle(model)
    found = Session(model, graphs.UNOPTIMIZED).run(feed)
    return {key: float(found[r.noise.output][r.noise.index]) for key, r in readings.items()}


def own(value, readers=None, source=None):
    return Wanted(value, U8, readers, source or value)


def squares(errors):
    return float(np.sum(np.square(errors)))


def rounded(x, step=0.5):
    return np.clip(np.rint(x / step) + 2, 0, 255) * step - 2 * step


IO = "n (float[1,4] x) => (float[1,4] z)"


def close(found, wanted):
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert abs(found[key] - value) < 1e-5 * max(value, 1.0), key


def test_every_reader_sees_only_the_one_value_rounded():
    text = f"{IO} {{ [a] y = Neg(x) [b] z = Mul(x, y) }}"
    error = rounded(ROW) - ROW
    wanted = {
        ("x", ""): squares(error),
        ("x", "a"): squares(error),
        ("x", "b"): squares(error * -ROW),
        ("y", ""): squares(rounded(-ROW) + ROW),
        ("y", "b"): squares((rounded(-ROW) + ROW) * ROW),
    }
    close(noise(text, [own("x"), own("y")], 0.5), wanted)


def test_a_node_that_reads_it_twice_reads_it_rounded_twice():
    error = rounded(ROW) ** 2 - ROW**2
    found = noise(f"{IO} {{ [a] z = Mul(x, x) }}", [own("x")], 0.5)
    close(found, {("x", ""): squares(rounded(ROW) - ROW), ("x", "a"): squares(error)})


def test_readers_that_are_not_asked_for_stay_exact():
    text = f"{IO} {{ [a] y = Neg(x) [b] z = Mul(x, y) }}"
    found = noise(text, [own("x", (("b", 0),))], 0.5)
    assert found.keys() == {("x", ""), ("x", "b")}


def test_numbers_that_are_shared_reach_the_readers_behind_a_move():
    text = f"{IO} {{ [m] y = Reshape(x, s) [t] v = Transpose<perm=[1,0]>(y) [a] z = Neg(v) }}"
    wanted = [own("x"), own("y", source="x"), own("v", source="x")]
    found = noise(text.replace("float[1,4] z", "float[4,1] z"), wanted, 0.5, s=np.array([1, 4]))
    error = squares(rounded(ROW) - ROW)
    close(found, {("x", ""): error, ("x", "a"): error})


def test_readers_are_compared_behind_what_saturation_absorbs():
    text = f"{IO} {{ [a] y = Neg(x) [r] v = Relu(y) [b] z = Neg(v) }}"
    error = np.maximum(-rounded(ROW), 0) - np.maximum(-ROW, 0)
    found = noise(text, [own("x")], 0.5, dropped={"r"})
    close(found, {("x", ""): squares(rounded(ROW) - ROW), ("x", "a"): squares(error)})


def test_readers_in_branches_and_integer_outputs():
    text = """n (float[1,4] x) => (float[1,4] z, int64[1,1] best) {
        [pick] best = ArgMax<axis=1>(x)
        [choose] z = If (c) <
            then_branch = t () => (float[1,4] a) { [in] a = Neg(x) },
            else_branch = e () => (float[1,4] d) { [out] d = Abs(x) }
        >
    }"""
    found = noise(text, [own("x")], 0.5, c=np.array(True))
    error = squares(rounded(ROW) - ROW)
    close(found, {("x", ""): error, ("x", "in"): error, ("x", "out"): 0.0})
