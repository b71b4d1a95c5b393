"""Small float graphs whose quantized form is compared as text."""

import graphs
import numpy as np

W3 = {"w": graphs.numbers(1, 3, 3, 1, 1, scale=0.5)}
IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"


def shared_weight():
    """Two convolutions at different input scales read one weight and one bias."""
    text = f"{IO} {{ [c1] y = Conv(x, w, b) [c2] z = Conv(y, w, b) }}"
    return graphs.build(text, w=W3["w"] * 0.3, b=graphs.numbers(2, 3))


def mixed_readers():
    """A value that an integer node and a float node read."""
    text = (
        "n (float[1,3,4,4] x) => (float[1,3,4,4] z, float[1,3,4,4] e)"
        "{ [exp] y = Exp(x) [c] z = Conv(y, w) [sin] e = Sin(y) }"
    )
    return graphs.build(text, **W3)


def integer_value_read_in_float():
    """What a convolution writes is read by a float node."""
    text = f"{IO} {{ [c] y = Conv(x, w) [sin] z = Sin(y) }}"
    return graphs.build(text, **W3)


def twice_in_add():
    text = f"{IO} {{ [c] y = Conv(x, w) [a] s = Add(y, y) [d] z = Conv(s, w) }}"
    return graphs.build(text, **W3)


def constant_node():
    text = (
        f"{IO} {{ [k] w = Constant<value=float[3,3,1,1] {{"
        f"{', '.join(str(i) for i in range(9))} }}>() [c] z = Conv(x, w) }}"
    )
    return graphs.build(text)


def clashing_names():
    """Names that insertion would like to use are taken, and others hold special characters."""
    text = (
        "n (float[1,3,4,4] x) => (float[1,3,4,4] x_quantized, float[1,3,4,4] w_dequantized)"
        "{ [x_quantized_QuantizeLinear] x_quantized = Conv(x, w)"
        " [c] w_dequantized = Conv(x, w) }"
    )
    model = graphs.build(text, **W3)
    model.graph.inputs[0].name = "in/put:0 [é]"
    return model


def relu_with_two_sources():
    """The convolution under the Relu has a second reader: nothing can be absorbed."""
    text = f"{IO} {{ [c] y = Conv(x, w) [r] p = Relu(y) [a] s = Add(p, y) [d] z = Conv(s, w) }}"
    return graphs.build(text, **W3)


def relu_behind_add():
    text = f"{IO} {{ [c] y = Conv(x, w) [a] s = Add(y, y) [r] p = Relu(s) [d] z = Conv(p, w) }}"
    return graphs.build(text, **W3)


def relu_then_clip():
    text = f"{IO} {{ [c] y = Conv(x, w) [r] p = Relu(y) [k] q = Clip(p, , hi) [d] z = Conv(q, w) }}"
    return graphs.build(text, hi=np.float32(0.5), **W3)


def narrow_clip_then_relu():
    """The Clip cannot be expressed, so the Relu behind it has nothing that could absorb it."""
    text = (
        f"{IO} {{ [c] y = Conv(x, w) [k] q = Clip(y, lo, hi) [r] p = Relu(q) [d] z = Conv(p, w) }}"
    )
    return graphs.build(text, lo=np.float32(1), hi=np.float32(6), **W3)


def computed_clip():
    text = (
        "n (float[1,3,4,4] x, float hi) => (float[1,3,4,4] z)"
        "{ [c] y = Conv(x, w) [k] q = Clip(y, , hi) [d] z = Conv(q, w) }"
    )
    return graphs.build(text, **W3)


def mixed_concat():
    """One input of the Concat is made in integers, the other in float."""
    text = (
        "n (float[1,3,4,4] x) => (float[1,3,4,4] z) { [c] y = Conv(x, w) [sin] s = Sin(x)"
        " [cat] u = Concat<axis=1>(y, s) [d] z = Conv(u, v) }"
    )
    return graphs.build(text, v=graphs.numbers(3, 3, 6, 1, 1), **W3)


def pooled_input():
    """Nothing computes before the MaxPool, so it stays float."""
    text = (
        "n (float[1,3,4,4] x) => (float[1,3,2,2] z)"
        "{ [p] y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) [c] z = Conv(y, w) }"
    )
    return graphs.build(text, **W3)


def input_read_by_pool_and_conv():
    """The convolution wants the input in integers anyway: the MaxPool goes along."""
    text = (
        "n (float[1,3,4,4] x) => (float[1,3,4,4] a, float[1,3,2,2] b)"
        "{ [c] a = Conv(x, w) [p] y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)"
        " [d] b = Conv(y, w) }"
    )
    return graphs.build(text, **W3)


def output_that_is_read_on():
    text = (
        "n (float[1,3,4,4] x) => (float[1,3,4,4] y, float[1,3,4,4] z)"
        "{ [c] y = Conv(x, w) [d] z = Conv(y, w) }"
    )
    return graphs.build(text, **W3)


def output_behind_relu_that_is_read_on():
    text = (
        "n (float[1,3,4,4] x) => (float[1,3,4,4] p, float[1,3,4,4] z)"
        "{ [c] y = Conv(x, w) [r] p = Relu(y) [d] z = Conv(p, w) }"
    )
    return graphs.build(text, **W3)


def split_half_read():
    """One output of the Split is read in integers, the other in float."""
    text = (
        "n (float[1,3,4,4] x) => (float[1,3,4,4] z, float[1,1,4,4] t) { [c] y = Conv(x, w)"
        " [s] u, v = Split<axis=1>(y, parts) [d] z = Conv(u, k) [sin] t = Sin(v) }"
    )
    return graphs.build(text, parts=np.array([2, 1]), k=graphs.numbers(3, 3, 2, 1, 1), **W3)


def used_in_a_branch_and_outside():
    text = """
    n (float[1,3,4,4] x, bool c) => (float[1,3,4,4] z, float[1,3,4,4] o) {
      [stem] y = Conv(x, w)
      [o] o = Conv(y, w)
      [if] z = If(c) <
        then_branch = a () => (float[1,3,4,4] t) { [inner] t = Conv(y, w) },
        else_branch = b () => (float[1,3,4,4] e) { [sin] e = Sin(y) }
      >
    }"""
    return graphs.build(text, **W3)


def branches_on_the_input():
    text = """
    n (float[1,3,4,4] x, bool c) => (float[1,3,4,4] z) {
      [if] z = If(c) <
        then_branch = a () => (float[1,3,4,4] t) { [one] t = Conv(x, w) },
        else_branch = b () => (float[1,3,4,4] e) { [two] f = Conv(x, w) [r] e = Relu(f) }
      >
    }"""
    return graphs.build(text, **W3)


def loop():
    """A value that is made in integers is read in the body of a Loop, which stays float."""
    text = """
    n (float[1,3,4,4] x, int64 times, bool go) => (float[1,3,4,4] z) {
      [stem] y = Conv(x, w)
      [loop] z = Loop(times, go, y) <
        body = b (int64 i, bool on, float[1,3,4,4] state) => (bool more, float[1,3,4,4] next) {
          [same] more = Identity(on)
          [inner] s = Conv(state, w)
          [plus] next = Add(s, y)
        }
      >
    }"""
    return graphs.build(text, **W3)


def mlp():
    """Gemm and MatMul from float input: every one quantizes what it reads."""
    text = (
        "n (float[2,4] x) => (float[2,4] z) { [g] y = Gemm<transB=1>(x, w, b) [r] p = Relu(y)"
        " [m] z = MatMul(p, w) }"
    )
    return graphs.build(text, w=graphs.numbers(1, 4, 4), b=graphs.numbers(2, 4))


def head_in_integers():
    """Behind a convolution Gemms read integers; the last one writes float."""
    text = (
        "n (float[1,3,4,4] x) => (float[1,4] z) { [c] y = Conv(x, w) [f] f = Flatten(y)"
        " [g] h = Gemm(f, w1, b1) [r] p = Relu(h) [m] q = Gemm(p, w2) [s] z = Softmax(q) }"
    )
    constants = {"w1": graphs.numbers(3, 48, 5), "b1": graphs.numbers(4, 5)}
    return graphs.build(text, w2=graphs.numbers(5, 5, 4), **constants, **W3)


NAMES = tuple(
    name for name, made in list(globals().items()) if getattr(made, "__module__", "") == __name__
)


def samples(model):
    """Samples that take every branch, and feed what is no float."""
    inputs = {value.name for value in model.graph.inputs}
    fixed = {"hi": np.float32(0.7), "times": np.int64(3), "go": np.True_}
    fixed = {name: value for name, value in fixed.items() if name in inputs}
    if "c" not in inputs:
        return graphs.feeds(model, **fixed)
    return graphs.feeds(model, 4, c=True) + graphs.feeds(model, 4, seed=2, c=False)
