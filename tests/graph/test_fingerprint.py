"""Equal structure, equal fingerprint; any other, another."""

import graphs
import models
import numpy as np
import onnx

from edgeq.graph import loader
from edgeq.graph.fingerprint import fingerprint


def of(proto):
    return fingerprint(loader.load(proto).model)


def test_it_is_the_same_for_the_same_model_from_file_and_memory(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(models.conv_net(), path)
    assert of(models.conv_net()) == of(path)
    assert len(of(path)) == 64


def test_float_weights_count_with_their_shape_only():
    changed = models.mlp()
    weight = changed.graph.initializer[0]
    weight.CopyFrom(onnx.numpy_helper.from_array(models.numbers(9, 16, 32), weight.name))
    assert of(changed) == of(models.mlp())
    weight.CopyFrom(onnx.numpy_helper.from_array(models.numbers(9, 16, 32).astype("f8"), "w0"))
    assert of(changed) != of(models.mlp())


def test_operators_names_topology_and_attributes_count():
    bodies = [
        "y = Sin(x) z = Neg(y)",
        "y = Cos(x) z = Neg(y)",
        "q = Sin(x) z = Neg(q)",
        "y = Sin(x) z = Neg(x)",
        "y = Sin(x) u = Neg(y) z = Neg(u)",
        "y = Sin(x) z = Elu <alpha = 0.5> (y)",
        "y = Sin(x) z = Elu <alpha = 0.25> (y)",
    ]
    head = "n (float[N,M] x) => (float[N,M] z)"
    found = {fingerprint(graphs.build(f"{head} {{ {body} }}")) for body in bodies}
    assert len(found) == len(bodies)


def test_opset_and_small_whole_numbers_count():
    text = "n (float[N,4] x) => (float[A,B] z) {{ z = Reshape(x, shape) }}"
    plain = models.build(text, shape=np.array([-1, 2]))
    assert of(plain) != of(models.build(text, shape=np.array([-1, 4])))
    assert of(plain) != of(models.build(text, 18, shape=np.array([-1, 2])))


def test_bodies_count():
    changed = models.branches()
    changed.graph.node[0].attribute[1].g.node[1].op_type = "Sigmoid"
    assert of(changed) != of(models.branches())
