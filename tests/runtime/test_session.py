"""Sessions say what they cannot do, and run what they can."""

import tempfile
from pathlib import Path

import graphs
import models
import numpy as np
import pytest

from edgeq.errors import DataError, ModelError
from edgeq.graph import loader, saver
from edgeq.runtime import session as sessions
from edgeq.runtime.kernels import executed_graph
from edgeq.runtime.session import Session, SessionConfig, first_line, tensor_bytes

STOPPING = "session.force_spinning_stop"


def loaded():
    return loader.load(models.mlp()).model


def test_inputs_and_outputs_are_those_of_the_model():
    session = Session(loaded())
    assert (session.inputs, session.outputs) == (("x",), ("y",))
    assert session.run(models.rows(1)[0])["y"].shape == (1, 4)


def test_arrays_that_the_model_does_not_have_are_left_out():
    sample = {**models.rows(1)[0], "label_class": np.array(3)}
    assert Session(loaded()).run(sample)["y"].shape == (1, 4)


def test_an_input_with_a_default_may_be_fed():
    model = graphs.build("n (float[2] x) => (float[2] y) { y = Add(x, w) }", w=np.ones(2, "f"))
    model.graph.inputs.append(model.graph.initializers["w"])
    session, sample = Session(model), {"x": np.zeros(2, np.float32)}
    assert session.run(sample)["y"].tolist() == [1, 1]
    assert session.run({**sample, "w": np.full(2, 3, np.float32)})["y"].tolist() == [3, 3]


def test_only_the_outputs_asked_for_are_computed():
    text = "n (float[2] x) => (float[2] y, float[2] z) { y = Sin(x) z = Neg(y) }"
    sample = {"x": np.ones(2, np.float32)}
    assert list(Session(graphs.build(text)).run(sample, ["z"])) == ["z"]


def test_a_model_that_does_not_load_is_named_with_the_reason():
    model = loaded()
    model.graph[0].op_type = "NoSuchOp"
    with pytest.raises(ModelError, match=r"does not load the candidate: .*NoSuchOp"):
        Session(model, what="the candidate")


def test_a_sample_that_does_not_fit_tells_the_shapes():
    with pytest.raises(DataError, match=r"x \[1, 3\]"):
        Session(loaded()).run({"x": np.ones((1, 3), np.float32)})


def test_a_model_too_large_for_memory_goes_through_a_file(monkeypatch):
    want = Session(loaded()).run(models.rows(1)[0])["y"]
    make, made = tempfile.mkdtemp, []
    monkeypatch.setattr(sessions, "_SERIALIZED_LIMIT", 100)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **how: made.append(make(**how)) or made[-1])
    session = Session(loaded())
    np.testing.assert_array_equal(session.run(models.rows(1)[0])["y"], want)
    del session
    assert made
    assert not any(Path(folder).exists() for folder in made)


def test_a_file_is_opened_where_it_is(tmp_path):
    saver.save(loaded(), tmp_path / "m.onnx")
    assert Session(tmp_path / "m.onnx").outputs == ("y",)


def test_optimization_can_be_switched_off(tmp_path):
    text = "n (float[2] x) => (float[2] z) { y = Identity(x) z = Neg(y) }"
    for optimize, wanted in ((True, 1), (False, 2)):
        path = tmp_path / f"{optimize}.onnx"
        Session(graphs.build(text), SessionConfig(optimize=optimize), optimized_path=path)
        assert len(loader.load(path).model.graph) == wanted


def test_entries_reach_onnxruntime(tmp_path):
    """Without Q/DQ transformations a convolution in integers runs in float."""
    io = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
    model = graphs.build(f"{io} {{ z = Conv(x, w) }}", w=graphs.numbers(1, 3, 3, 1, 1))
    config = SessionConfig(entries={"session.disable_quant_qdq": "1"})
    operators = {
        node.op_type for node in executed_graph(graphs.quantize(model).model, config).nodes
    }
    assert "QLinearConv" not in operators


def test_tensor_bytes_counts_bodies_too():
    assert tensor_bytes(loader.load(models.branches()).model) == 2 * 16 * 4 * 4


def test_the_first_line_of_an_error_is_short():
    assert first_line(ValueError("[ONNXRuntimeError] : 2 : bad\nmore")) == "2 : bad"
    assert first_line(ValueError()) == "ValueError"


@pytest.mark.parametrize(("entries", "wanted"), [({}, "1"), ({STOPPING: "0", "x": "y"}, "0")])
def test_idle_threads_leave_the_cores_to_the_next_session(monkeypatch, entries, wanted):
    """Unless a target has it otherwise."""
    opened, make = [], sessions.ort.SessionOptions
    monkeypatch.setattr(sessions.ort, "SessionOptions", lambda: opened.append(make()) or opened[0])
    Session(loaded(), SessionConfig(2, entries=entries))
    for key, value in {**entries, STOPPING: wanted}.items():
        assert opened[0].get_session_config_entry(key) == value


@pytest.mark.parametrize(
    ("what", "told"), [("the model", "Feed samples"), (sessions.QUANTIZED, "--exclude")]
)
def test_who_is_to_blame_for_a_run_that_fails_is_told(what, told):
    model = graphs.build("n (float[a] x, float[b] z) => (float[c] y) { y = Add(x, z) }")
    with pytest.raises(DataError, match=f"{what} does not run") as caught:
        Session(model, what=what).run({"x": np.ones(2, np.float32), "z": np.ones(3, np.float32)})
    assert told in caught.value.remedy


def test_sizes_that_share_a_name_and_differ_are_told():
    model = graphs.build("n (float[2,a] x, float[a] z) => (float[2,a] y) { y = Add(x, z) }")
    sample = {"x": np.ones((2, 2), np.float32), "z": np.ones(3, np.float32)}
    with pytest.raises(DataError) as caught:
        Session(model, what=sessions.QUANTIZED).run(sample)
    assert "sizes of 'x' and 'z' both 'a', and here they are 2 and 3" in caught.value.remedy


def test_a_model_is_run_where_no_output_is_asked_for():
    model = graphs.build("n (float[a] x, float[b] z) => (float[c] y) { y = Add(x, z) }")
    one = np.ones(2, np.float32)
    assert Session(model).run({"x": one, "z": one}, []) == {}
    with pytest.raises(DataError):
        Session(model).run({"x": one, "z": np.ones(3, np.float32)}, [])
