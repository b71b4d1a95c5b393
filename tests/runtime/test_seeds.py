import numpy as np
import onnx_ir as ir

from edgeq.runtime.session import Session

NOISY = """
<ir_version: 8, opset_import: ["": 17]>
g (float[N, 4] x, bool more) => (float[N, 4] y) {
    [noise] n = RandomNormalLike (x)
    [sum] s = Add (x, n)
    [choose] y = If (more) <
        then_branch = one () => (float[N, 4] p) {
            [inner] m = RandomUniformLike (s)
            p = Add (s, m)
        },
        else_branch = two () => (float[N, 4] q) { q = Identity (s) }
    >
}
"""


def test_two_sessions_of_a_model_with_noise_answer_alike():
    model = ir.from_onnx_text(NOISY)
    sample = {"x": np.zeros((2, 4), np.float32), "more": np.array(True)}
    first, second = Session(model), Session(model)
    one, again = first.run(sample)["y"], first.run(sample)["y"]
    assert np.array_equal(one, second.run(sample)["y"])
    assert not np.array_equal(one, again)
    assert "seed" not in model.graph.node("noise").attributes
