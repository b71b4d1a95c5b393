import pytest
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.fold_transpose_into_layer import fold_transpose_into_layer


def graph(body, out="y", shape="N,2,3,4", **given):
    given = {"w": numbers(24, 5), "v": numbers(24, 2, seed=1), **given}
    declared = "".join(f", float[{','.join(map(str, a.shape))}] {n}" for n, a in given.items())
    text = f"g (float[{shape}] x{declared}) => ({out}) {{\n{body}\n}}"
    return model(text, **given)


FOLDED = {
    "dense": "t = Transpose<perm=[0,2,3,1]>(x) f = Flatten(t) y = MatMul(f, w)",
    "unary": "t = Transpose<perm=[0,2,3,1]>(x) r = Relu(t) f = Flatten(r) y = Gemm(f, w)",
    "unary behind": "t = Transpose<perm=[0,3,1,2]>(x) f = Flatten(t) r = Relu(f) y = Gemm(r, w)",
    "two heads": """t = Transpose<perm=[0,2,3,1]>(x) f = Flatten(t) y = MatMul(f, w)
        r = Neg(f) z = Gemm(r, v)""",
    "shared": """t = Transpose<perm=[0,2,3,1]>(x) f = Flatten(t) y = MatMul(f, w)
        g = Flatten(x) z = MatMul(g, w)""",
}


@pytest.mark.parametrize("name", FOLDED)
def test_rows_are_permuted(name):
    body = FOLDED[name]
    found, outcome = apply(fold_transpose_into_layer, graph(body, "y, z" if "z" in body else "y"))
    assert outcome.changes == 1
    assert "Transpose" not in ops(found)


def test_reshape_and_a_transposed_weight():
    body = """k = Constant<value=int64[2] {-1, 24}>() t = Transpose<perm=[0,2,3,1]>(x)
        f = Reshape(t, k) y = Gemm<transB=1>(f, w)"""
    found, _ = apply(fold_transpose_into_layer, graph(body, w=numbers(5, 24)))
    assert "Transpose" not in ops(found)


DECLINED = {
    "other readers": "t = Transpose<perm=[0,2,3,1]>(x) f = Flatten(t) y = MatMul(f, w) z = Neg(f)",
    "no layer": "t = Transpose<perm=[0,2,3,1]>(x) f = Flatten(t) y = Softmax(f) z = Neg(y)",
}


@pytest.mark.parametrize("name", DECLINED)
def test_declined(name):
    _, outcome = apply(fold_transpose_into_layer, graph(DECLINED[name], "y, z"))
    assert outcome.changes == 0
    assert "not only layers" in outcome.declined[0]


def test_other_matrices():
    body = """t = Transpose<perm=[0,2,3,1]>(x) f = Flatten<axis=2>(t) r = Relu(f)
        y = MatMul(r, w)"""
    _, outcome = apply(fold_transpose_into_layer, graph(body, w=numbers(8, 5)))
    assert outcome.changes == 0
    assert "one row" in outcome.declined[0]


def test_unknown_sizes():
    body = "t = Transpose<perm=[0,2,3,1]>(x) f = Flatten(t) y = MatMul(f, w)"
    found = graph(body, shape="N,2,M,4", w=numbers(512, 5))
    _, outcome = apply(fold_transpose_into_layer, found)
    assert outcome.changes == 0
    assert "not known" in outcome.declined[0]


@pytest.mark.parametrize(("flag", "width"), [(0, 5), (1, 4)])
def test_gemm_reads_a_computed_weight_either_way(flag, width):
    text = f"""
g (float[2,{width}] x, float[4,5] z) => (y) {{
  t = Transpose<perm=[1,0]>(z)
  y = Gemm<transB={flag}>(x, t)
}}
"""
    found, outcome = apply(fold_transpose_into_layer, model(text))
    assert ops(found) == ["Gemm"]
    assert outcome.changes == 1
