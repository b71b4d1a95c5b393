"""Running packs: what comes back, and what is told when nothing does."""

import dataclasses
import json
import sys
import tempfile
import textwrap

import pytest
from editing import QUICK, damage_weights, edit_manifest

import edgeq
from edgeq.device.address import parse
from edgeq.device.devices import Device
from edgeq.device.reading import opened
from edgeq.device.running import run_pack
from edgeq.device.transport import LocalTransport
from edgeq.errors import DeviceError


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """Whatever happens in a test, no file of a run stays."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not [each.name for each in folder.iterdir()]


def program(tmp_path, body):
    """A device whose program is a script of ours."""
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(body))
    return Device(
        parse("wasm://node"),
        LocalTransport("wasm://node"),
        (sys.executable, str(script), "unused"),
        program=True,
        carried=None,
    )


def run_on(device, pack, options=QUICK):
    with opened(pack) as checked:
        return run_pack(device, checked, options)


def test_a_good_model_passes_here(net_pack):
    result = edgeq.run("local", net_pack, options=QUICK)
    assert result.passed
    assert result.failures == ()
    assert not result.emulated
    assert result.runtime["name"] == "onnxruntime"
    assert result.cpu["features"]
    assert "QLinearConv" in {kernel.op_type for kernel in result.kernels}
    assert result.nodes is None
    assert result.notes == ()


def test_a_float_model_passes_here(float_pack):
    assert edgeq.run("local", float_pack, options=QUICK).passed


def test_a_wrong_model_fails_and_says_where(rewritten):
    result = edgeq.run("local", rewritten(damage_weights), options=QUICK)
    assert not result.passed
    (failure,) = result.failures
    assert failure.startswith("scores[0][")
    assert "instead of" in failure


def test_the_document_is_json_with_stable_keys(net_pack):
    document = json.loads(edgeq.run("local", net_pack, options=QUICK).to_json())
    assert document.keys() >= {
        "schema", "device", "verdict", "failures", "outputs", "latency", "peak_memory_mb",
        "emulated", "runtime", "cpu", "kernels", "reference", "notes",
    }  # fmt: skip
    assert document["latency"]["meaningful"]
    assert document["outputs"][0].keys() >= {"name", "verdict", "tolerance", "worst", "unequal"}


def test_a_profile_names_every_node_with_its_time(net_pack):
    options = dataclasses.replace(QUICK, profile=True)
    profile = edgeq.run("local", net_pack, options=options).profile()
    assert {row["op_type"] for row in profile["nodes"]} >= {"QLinearConv", "QuantizeLinear"}
    assert all(row["microseconds"] >= 0 for row in profile["nodes"])


def test_another_version_there_is_noted(rewritten):
    path = rewritten(lambda e: edit_manifest(e, lambda m: m["made_with"].update(onnxruntime="1.0")))
    (note,) = edgeq.run("local", path, options=QUICK).notes
    assert "the pack was made with onnxruntime 1.0" in note


def test_a_model_that_is_too_new_for_the_device_is_told(rewritten):
    def newer(entries):
        import onnx

        model = onnx.load_from_string(entries["model.onnx"])
        for imported in model.opset_import:
            imported.version = 99 if imported.domain in ("", "ai.onnx") else imported.version
        entries["model.onnx"] = model.SerializeToString()

    with pytest.raises(DeviceError, match=r"does not load it.*The pack was made with onnxruntime"):
        edgeq.run("local", rewritten(newer), options=QUICK)


@pytest.mark.parametrize("said", ["onnxruntime 1.20.1 does not load it: no kernel", "no kernel"])
def test_what_the_model_needs_is_told_where_it_does_not_run(newer_pack, tmp_path, said):
    old = program(tmp_path, f"import sys; sys.exit('error: {said}')")
    with pytest.raises(DeviceError, match=r"needs onnxruntime 1\.21 or newer \(opset 22\)"):
        run_on(old, newer_pack)


def test_a_release_that_is_new_enough_is_not_blamed(newer_pack, tmp_path):
    new = program(tmp_path, "import sys; sys.exit('error: onnxruntime 1.21.0 does not load it')")
    with pytest.raises(DeviceError, match="The pack was made with onnxruntime"):
        run_on(new, newer_pack)


def test_the_runner_in_a_pack_is_never_run_for_strangers(rewritten, tmp_path):
    def evil(entries):
        entries["runner.py"] = f"open({str(tmp_path / 'evil')!r}, 'w')".encode()

    assert edgeq.run("local", rewritten(evil), options=QUICK).passed
    assert not (tmp_path / "evil").exists()


def test_a_run_without_end_is_given_up(net_pack):
    options = dataclasses.replace(QUICK, seconds=60.0, timeout=2.0)
    with pytest.raises(DeviceError, match="did not finish within 2 s"):
        edgeq.run("local", net_pack, options=options)


def test_no_interpreter_is_told(net_pack):
    device = Device(parse("local"), LocalTransport("local"), ("/nowhere/python",))
    with pytest.raises(DeviceError, match="cannot run /nowhere/python"):
        run_on(device, net_pack)


def test_an_interpreter_that_ends_without_a_result_is_told(net_pack):
    device = Device(parse("local"), LocalTransport("local"), ("/bin/true",))
    with pytest.raises(DeviceError, match="gave no result"):
        run_on(device, net_pack)


HONEST = """
    import json, pathlib, sys
    import numpy as np, onnxruntime as ort
    pack, results = map(pathlib.Path, sys.argv[2:4])
    manifest = json.loads((pack / "manifest.json").read_text())
    session = ort.InferenceSession(str(pack / manifest["model"]["files"][0]))
    for number, sample in enumerate(manifest["samples"]):
        feed = {p["name"]: np.load(pack / f) for p, f in zip(manifest["inputs"], sample["inputs"])}
        folder = results / f"{number:03}"
        folder.mkdir()
        for place, array in enumerate(session.run(None, feed)):
            np.save(folder / f"{place}.npy", array CHANGE)
    told = {"runtime": {"name": "mine", "version": "7"}, "seconds": [0.5, 0.25], "nodes": None}
    (results / "result.json").write_text(json.dumps(told))
"""


def test_a_program_of_ones_own_only_has_to_answer(net_pack, tmp_path):
    result = run_on(program(tmp_path, HONEST.replace("CHANGE", "")), net_pack)
    assert result.passed
    assert result.latency.median_ms == 375.0
    assert result.kernels is None
    assert result.runtime == {"name": "mine", "version": "7"}


@pytest.mark.parametrize(
    ("runtime", "is_told"),
    [("onnxruntime-web 1.20.1", True), ("onnxruntime 1.21.1", False), ("mine 1.0", False)],
)
def test_a_release_that_is_too_old_is_noted_though_it_answers(
    newer_pack, tmp_path, runtime, is_told
):
    told = dict(zip(("mine", "7"), runtime.split(), strict=True))
    text = HONEST.replace("CHANGE", "")
    for old, new in told.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    result = run_on(program(tmp_path, text), newer_pack)
    assert result.passed
    assert any("needs onnxruntime 1.21" in note for note in result.notes) is is_told


def test_nodes_that_a_program_tells_are_its_kernels(net_pack, tmp_path):
    nodes = [
        {"name": n, "op_type": "QLinearConv", "provider": "CPU", "microseconds": 2.0} for n in "ab"
    ]
    text = HONEST.replace("CHANGE", "").replace('"nodes": None', f'"nodes": {nodes}')
    result = run_on(program(tmp_path, text), net_pack)
    (kernel,) = result.kernels
    assert (kernel.op_type, kernel.nodes, result.nodes) == ("QLinearConv", 2, None)
    asked = run_on(program(tmp_path, text), net_pack, dataclasses.replace(QUICK, profile=True))
    assert [node.name for node in asked.nodes] == ["a", "b"]


def test_answers_of_a_program_are_compared_here(net_pack, tmp_path):
    result = run_on(program(tmp_path, HONEST.replace("CHANGE", "+ 9")), net_pack)
    assert not result.passed
    assert result.outputs[0].worst.difference == pytest.approx(9, rel=0.01)


def test_a_program_that_fails_is_told(net_pack, tmp_path):
    with pytest.raises(DeviceError, match="no such kernel"):
        run_on(program(tmp_path, "import sys; sys.exit('error: no such kernel')"), net_pack)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"seconds": []}', '{"seconds": ["x"], "runtime": {}}', "{" * 9]
)
def test_nonsense_from_a_device_is_one_clear_error(net_pack, tmp_path, text):
    body = HONEST.replace("CHANGE", "").replace("json.dumps(told)", repr(text))
    with pytest.raises(DeviceError, match="something that is no result"):
        run_on(program(tmp_path, body), net_pack)


def test_pickles_from_a_device_are_not_opened(net_pack, tmp_path):
    body = HONEST.replace("array CHANGE", "np.array([print], dtype=object), allow_pickle=True")
    with pytest.raises(DeviceError, match="something that is no result"):
        run_on(program(tmp_path, body), net_pack)
