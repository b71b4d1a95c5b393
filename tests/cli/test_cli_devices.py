"""The commands pack, run and device."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest

from edgeq.api import running as api_running
from edgeq.device import cache, offered


@pytest.fixture
def packed(run, net, calib):
    """``net.edgeq.zip``, a pack of ``net``."""
    assert run("pack", net, "--data", calib, "--samples", 2, "-q").exit_code == 0
    return net.with_name("net.edgeq.zip")


def test_a_pack_goes_beside_the_model_and_says_what_is_tolerated(run, net, calib):
    done = run("pack", net, "--data", calib)
    assert done.exit_code == 0, done.stderr
    assert "scores" in done.stdout
    assert "8 samples" in done.stdout
    assert net.with_name("net.edgeq.zip").is_file()


def test_what_was_packed_as_json(run, net, calib, work):
    done = run("pack", net, "--data", calib, "-o", "a.zip", "--reference", net, "--json")
    document = json.loads(done.stdout)
    assert document["outputs"][0]["tolerance"]["kind"] == "float"
    assert "reference.onnx" in document["entries"]


def test_packing_over_the_model_is_refused(run, refused, net, calib):
    before = net.read_bytes()
    refused(run("pack", net, "--data", calib, "-o", net), "file that is read")
    assert net.read_bytes() == before


def test_a_run_that_passes_is_exit_0(run, packed):
    done = run("run", "local", packed, "--seconds", 0)
    assert done.exit_code == 0, done.stderr
    assert "PASS  local" in done.stdout


def test_the_result_as_json(run, packed):
    document = json.loads(run("run", "local", packed, "--seconds", 0, "--json").stdout)
    assert document["verdict"] == "pass"


def test_a_profile_is_written(run, packed, work):
    done = run("run", "local", packed, "--seconds", 0, "--profile", "nodes.json", "-q")
    assert done.exit_code == 0
    assert not done.stdout
    nodes = json.loads((work / "nodes.json").read_text())["nodes"]
    assert {"name", "op_type", "provider", "microseconds"} == nodes[0].keys()


def test_a_run_that_fails_is_exit_1_and_says_where(run, packed, work):
    with zipfile.ZipFile(packed) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    answer = np.load(io.BytesIO(entries["expected/001/0.npy"]))
    stream = io.BytesIO()
    np.save(stream, answer + 1)
    entries["expected/001/0.npy"] = stream.getvalue()
    manifest = json.loads(entries["manifest.json"])
    digest = hashlib.sha256(stream.getvalue()).hexdigest()
    manifest["files"]["expected/001/0.npy"]["sha256"] = digest
    entries["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(work / "other.zip", "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    done = run("run", "local", work / "other.zip", "--seconds", 0)
    assert done.exit_code == 1
    assert "scores[0][" in done.stderr
    assert "FAIL  local" in done.stdout


def test_no_such_device_is_refused(run, refused, packed):
    refused(run("run", "lokal", packed), "no such device", "local")


def test_no_pack_is_refused(run, refused, net):
    refused(run("run", "local", net), "no pack")


def test_an_emulator_that_is_not_set_up_is_refused(run, refused, packed, monkeypatch, work):
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    refused(run("run", "qemu://arm64?cpu=max", packed), "edgeq device setup qemu://arm64")
    refused(run("run", "wasm://node", packed), "edgeq device setup wasm://node")


def test_all_runs_what_works_here_and_tells_what_breaks(run, packed, monkeypatch, work):
    monkeypatch.setattr(
        offered,
        "offers",
        lambda: (
            offered.Offer("local", "this machine", None, {}, ("local",)),
            offered.Offer("wasm://node", "web", None, {}, ("wasm://node",)),
            offered.Offer("qemu://arm64", "arm", "set it up", {}, ("qemu://arm64",)),
            offered.Offer("ssh://host", "boards", None, {}),
        ),
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    done = run("run", "all", packed, "--seconds", 0, "--json")
    assert done.exit_code == 1
    verdicts = {row["device"]: row["verdict"] for row in json.loads(done.stdout)}
    assert verdicts == {"local": "pass", "wasm://node": "error"}
    assert "not set up" in done.stderr


def test_the_list_says_what_is_missing(run, monkeypatch, work):
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    rows = {row["device"]: row for row in json.loads(run("device", "list", "--json").stdout)}
    assert rows["local"]["ready"]
    assert not rows["qemu://x86-avx2"]["ready"]
    assert rows["qemu://arm64[?cpu=NAME]"]["missing"] == "edgeq device setup qemu://arm64"
    assert "qemu://arm64" in run("device", "list").stdout


def test_what_needs_no_setup_is_refused(run, refused):
    refused(run("device", "setup", "ssh://board"), "no setup")


def test_setup_elsewhere_than_on_debian_is_told(run, refused, monkeypatch, work):
    from edgeq.device import debian

    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    monkeypatch.setattr(debian, "_codename", lambda: None)
    refused(run("device", "setup", "qemu://arm64"), "this is no Debian")
    assert not list((work / "cache").rglob("*.json"))


def test_a_root_that_breaks_while_it_is_built_leaves_the_old_one(monkeypatch, work):
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    with cache.building("qemu", {"qemu-user": "1"}) as folder:
        (folder / "qemu-x86_64").write_text("old")
    with pytest.raises(IsADirectoryError), cache.building("qemu", {"qemu-user": "2"}) as folder:
        folder.write_text("a build that breaks")
    assert cache.versions("qemu") == {"qemu-user": "1"}
    assert (cache.require("qemu", "x") / "qemu-x86_64").read_text() == "old"
    assert [each.name for each in cache.home().iterdir()] == ["qemu"]
    assert api_running.devices()


def test_an_export_says_what_it_wrote(run, net, calib):
    done = run("export", net, "--data", calib, "--fix-shape", "N=1")
    assert done.exit_code == 0, done.stderr
    assert "on 8 samples" in done.stdout
    assert "NNAPI" in done.stdout
    assert not done.stderr
    assert net.with_suffix(".ort").is_file()


def test_an_export_as_json(run, net):
    document = json.loads(run("export", net, "--json").stdout)
    assert document["path"].endswith("net.ort")
    assert document["samples"] == 0
