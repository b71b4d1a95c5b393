"""Mixtures of experts: what chooses the experts stays float, the experts do not."""

import graphs
import pytest

import edgeq
from edgeq.graph.walk import node_name
from edgeq.weight_only.routers import routers

EXPERTS = (
    " [one] a = MatMul(x, e1) b = Relu(a) [two] s = MatMul(b, e2)"
    " i = Cast<to=1>(chosen) r = ReduceSum<keepdims=1>(i, last) y = Mul(s, r) }"
)
HEAD = "n (float[6,64] x) => (float[6,64] y) {"
CHOICES = {
    "softmax first": "[router] l = MatMul(x, w) p = Softmax(l) best, chosen = TopK(p, k)",
    "a bias between": (
        "[router] l = Gemm<transB=1>(x, wt) g = Sigmoid(l) p = Add(g, bias)"
        " best, chosen = TopK(p, k)"
    ),
}


def mixture(choice, experts=64):
    text = HEAD + CHOICES[choice] + EXPERTS
    given = {
        "w": graphs.numbers(0, 64, experts), "wt": graphs.numbers(0, experts, 64),
        "bias": graphs.numbers(3, experts),
    }  # fmt: skip
    return graphs.proto(
        text, e1=graphs.numbers(1, 64, 64), e2=graphs.numbers(2, 64, 64), k=[2], last=[1],
        **{name: array for name, array in given.items() if f" {name})" in text},
    )  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("scheme", ["w4", "w8", "dynamic"])
def test_experts_are_quantized_and_their_router_is_not(choice, scheme):
    samples = [{"x": graphs.numbers(i, 6, 64)} for i in range(4)]
    result = edgeq.quantize(mixture(choice), samples, scheme=scheme, threads=1, validate=False)
    forms = {d.node: d.form.value for d in result.plan.decisions}
    assert forms["router"] == "float"
    assert forms["one"] == forms["two"] != "float"
    (said,) = (d.reason for d in result.plan.decisions if d.node == "router")
    assert "TopK" in said


@pytest.mark.parametrize(
    "text",
    [
        "[m] l = MatMul(x, w) q = Mul(l, l) best, chosen = TopK(q, k)",
        "[m] l = MatMul(x, w) p = Softmax(l) best, chosen = TopK(x, k) z = Add(p, p)",
    ],
)
def test_only_what_is_chosen_by_is_a_router(text):
    model = graphs.build(
        f"n (float[6,64] x) => (float[6,2] best) {{ {text} }}", w=graphs.numbers(0, 64, 64), k=[2]
    )
    assert not routers(model)


def test_a_choice_among_many_words_is_no_router():
    model = graphs.build(
        "n (float[6,64] x) => (float[6,2] best) { l = MatMul(x, w) best, chosen = TopK(l, k) }",
        w=graphs.numbers(0, 64, 600), k=[2],
    )  # fmt: skip
    assert not routers(model)
    few = graphs.build(
        "n (float[6,64] x) => (float[6,2] best) { [r] l = MatMul(x, w) best, chosen = TopK(l, k) }",
        w=graphs.numbers(0, 64, 8), k=[2],
    )  # fmt: skip
    assert {node_name(node) for node in routers(few)} == {"r"}
