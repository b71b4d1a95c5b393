"""Random small graphs with Transposes in them, written as text."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from pass_graphs import model, numbers

TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
"""Channels last -> channels first, and back."""

SWAPS = ((0, 2, 1, 3), (0, 1, 3, 2), (1, 0, 2, 3), (3, 2, 1, 0))


@dataclass
class Sketch:
    """A graph in the making: lines of text, constants, and shapes of values of four axes."""

    shapes: dict = field(default_factory=dict)
    lines: list = field(default_factory=list)
    constants: dict = field(default_factory=dict)
    others: dict = field(default_factory=dict)

    def name(self):
        return f"v{len(self.lines)}_{len(self.constants)}"

    def constant(self, data):
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(data)
        return name

    def add(self, call, shape=None, kind=None):
        name = self.name()
        self.lines.append(f"{name} = {call}")
        if shape is not None:
            self.shapes[name] = tuple(shape)
        if kind is not None:
            self.others[name] = kind
        return name

    def transpose(self, value, order):
        perm = ", ".join(map(str, order))
        shape = [self.shapes[value][axis] for axis in order]
        return self.add(f"Transpose<perm=[{perm}]>({value})", shape)

    def model(self, outputs, batch, opset=17):
        kinds = {"int8": "int8", "int64": "int64", "int32": "int32", "float32": "float"}
        declared = "".join(
            f", {kinds[str(a.dtype)]}[{','.join(map(str, a.shape))}] {n}"
            for n, a in self.constants.items()
        )
        body = "\n".join(self.lines)
        ends = ", ".join(f"{self.others.get(n, 'float[?,?,?,?]')} {n}" for n in outputs)
        head = f"g (float[{batch},4,6,2] x{declared})"
        text = f"{head} => ({ends}) {{\n{body}\n}}"
        return model(text, opset, **self.constants)


def _unary(draw, s, v):
    op = draw(st.sampled_from(["Relu", "Neg", "Sigmoid", "Tanh", "Identity"]))
    return s.add(f"{op}({v})", s.shapes[v])


def _arithmetic(draw, s, v):
    shape = s.shapes[v]
    count = draw(st.integers(0, 4))
    sizes = [draw(st.sampled_from([1, n or 1])) for n in shape[4 - count :]]
    other = s.constant(numbers(*sizes, seed=len(s.lines)))
    op = draw(
        st.sampled_from(["Add({0}, {1})", "Mul({1}, {0})", "PRelu({0}, {1})", "Sub({1}, {0})"])
    )
    return s.add(op.format(v, other), shape)


def _join(draw, s, v):
    same = [n for n, shape in s.shapes.items() if shape == s.shapes[v]]
    other = draw(st.sampled_from(same))
    return s.add(f"{draw(st.sampled_from(['Add', 'Mul', 'Max']))}({v}, {other})", s.shapes[v])


def _concat(draw, s, v):
    same = [n for n, shape in s.shapes.items() if shape == s.shapes[v]]
    axis, other = draw(st.integers(1, 3)), draw(st.sampled_from(same))
    shape = list(s.shapes[v])
    if shape[axis] is None or shape[axis] > 8:
        return v
    shape[axis] *= 2
    return s.add(f"Concat<axis={axis - draw(st.sampled_from([0, 4]))}>({v}, {other})", shape)


def _conv(draw, s, v):
    del draw
    channels = s.shapes[v][3]
    if channels is None:
        return v
    w = s.constant(numbers(channels, channels, 3, 3, seed=len(s.lines)) - 1)
    t = s.transpose(v, TO_FIRST)
    c = s.add(f"Conv<pads=[1,1,1,1]>({t}, {w})", s.shapes[t])
    return s.transpose(c, TO_LAST)


def _transpose(draw, s, v):
    return s.transpose(v, draw(st.sampled_from([TO_FIRST, TO_LAST, TO_FIRST, TO_LAST, *SWAPS])))


def _pad(draw, s, v):
    amounts = [draw(st.integers(0, 1)) if n and i else 0 for i, n in enumerate(s.shapes[v])] * 2
    p = s.constant(np.array(amounts))
    shape = [n if n is None else n + 2 * a for n, a in zip(s.shapes[v], amounts, strict=False)]
    return s.add(f"Pad({v}, {p})", shape)


def _slice(draw, s, v):
    axis = draw(st.integers(1, 3))
    size = s.shapes[v][axis]
    if size is None or size < 2:
        return v
    shape = list(s.shapes[v])
    shape[axis] = size - 1
    b, e, a = (s.constant(np.array([i])) for i in (1, 99, axis))
    return s.add(f"Slice({v}, {b}, {e}, {a})", shape)


def _reduce(draw, s, v):
    axes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True))
    if draw(st.booleans()):
        keep = [n if a not in axes else 1 for a, n in enumerate(s.shapes[v])]
        r = s.add(f"ReduceMean<axes={axes}>({v})", keep)
        return s.add(f"Mul({v}, {r})", s.shapes[v])
    rank = ",".join("?" * (4 - len(axes)))
    s.add(f"ReduceMax<axes={axes}, keepdims=0>({v})", kind=f"float[{rank}]")
    return v


def _softmax(draw, s, v):
    return s.add(f"Softmax<axis={draw(st.integers(-1, 3))}>({v})", s.shapes[v])


def _resize(draw, s, v):
    axis = draw(st.integers(1, 3))
    shape = list(s.shapes[v])
    if shape[axis] is None or shape[axis] > 8:
        return v
    shape[axis] *= 2
    scales = s.constant(np.array([2.0 if a == axis else 1.0 for a in range(4)], np.float32))
    return s.add(f'Resize<mode="nearest">({v}, , {scales})', shape)


def _around(draw, s, v):
    """Off to fewer axes and back."""
    axis = draw(st.integers(1, 3))
    size = s.shapes[v][axis]
    if size is None:
        return v
    shape = [1 if a == axis else n for a, n in enumerate(s.shapes[v])]
    i, a = s.constant(np.array(size - 1)), s.constant(np.array([axis]))
    g = s.add(f"Gather<axis={axis}>({v}, {i})")
    return s.add(f"Unsqueeze({g}, {a})", shape)


def _squeeze(draw, s, v):
    ones = [a for a, n in enumerate(s.shapes[v]) if n == 1 and a]
    if ones:
        a = s.constant(np.array([draw(st.sampled_from(ones))]))
        s.add(f"Squeeze({v}, {a})", kind="float[?,?,?]")
    return v


def _read(draw, s, v):
    call, kind = draw(st.sampled_from(READS))
    s.add(call.format(v), kind=kind)
    return v


READS = (
    ("Shape({0})", "int64[4]"),
    ("Flatten({0})", "float[?,?]"),
    ("ArgMax<axis=2, keepdims=0>({0})", "int64[?,?,?]"),
)

STEPS = (
    _unary, _arithmetic, _arithmetic, _join, _concat, _conv, _conv, _transpose, _transpose, _pad,
    _slice, _reduce, _softmax, _resize, _around, _squeeze, _read,
)  # fmt: skip


@st.composite
def sketches(draw, most=14):
    """A sketch and the names of its outputs."""
    s = Sketch({"x": (None, 4, 6, 2)})
    for _ in range(draw(st.integers(2, most))):
        value = draw(st.sampled_from(list(s.shapes)[-3:]))
        draw(st.sampled_from(STEPS))(draw, s, value)
    known = [n for n in s.shapes if n != "x"]
    ends = draw(st.lists(st.sampled_from(known), max_size=2, unique=True)) if known else []
    last = next((n for n in reversed(s.shapes) if n != "x"), None)
    ends = dict.fromkeys([*ends, *([last] if last else []), *s.others])
    return s, [name for name in ends if name is not None]
