"""Devices behind adb: the real client, and a server of ours that speaks its protocol."""

import re
import shlex
import shutil
import subprocess
import sys
from urllib.parse import quote

import pytest
from adb_server import Phone
from editing import QUICK

import edgeq
from edgeq.device import runner
from edgeq.errors import DeviceError

ADB = shutil.which("adb")
pytestmark = pytest.mark.skipif(ADB is None, reason="needs the adb client")


@pytest.fixture(scope="module")
def version():
    """The protocol's version that the client speaks: the last number of 1.0.41."""
    done = subprocess.run([ADB, "version"], capture_output=True, text=True, check=True)
    return int(re.search(r"version 1\.0\.(\d+)", done.stdout)[1])


@pytest.fixture(scope="module")
def canned(net_pack, tmp_path_factory):
    """The text of a "Python" that has run the pack before."""
    found = tmp_path_factory.mktemp("canned") / "result.json"
    assert runner.main([str(net_pack), "--seconds", "0", "--output", str(found)]) == 0
    return f'#!/bin/sh\n[ "$1" = -c ] || cp {shlex.quote(str(found))} "$4"\n'


@pytest.fixture
def phone(tmp_path, monkeypatch, version, canned):
    folder, programs = tmp_path / "phone", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    (programs / "canned").write_text(canned)
    (programs / "canned").chmod(0o755)
    made = Phone(folder, version)
    made.path = f"{programs}:{made.path}"
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(made.port))
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    yield made
    made.close()


def run(address, pack):
    return edgeq.run(address, pack, options=QUICK)


def test_a_pack_runs_on_the_only_phone_and_nothing_stays(phone, net_pack):
    assert run(f"adb://?python={quote(sys.executable)}", net_pack).passed
    assert not list(phone.folder.iterdir())


def test_a_phone_is_chosen_by_its_serial(phone, net_pack):
    phone.serials = ["phone1", "emulator-5554"]
    assert run("adb://emulator-5554?python=canned", net_pack).passed


def test_several_phones_have_to_be_told_apart(phone, net_pack):
    phone.serials = ["phone1", "phone2"]
    with pytest.raises(DeviceError, match=r"more than one device.*adb://SERIAL"):
        run("adb://", net_pack)


@pytest.mark.parametrize("address", ["adb://", "adb://phone9"])
def test_no_phone_is_told(phone, net_pack, address):
    phone.serials = []
    with pytest.raises(DeviceError, match="no such device"):
        run(address, net_pack)


def test_a_phone_that_does_not_trust_us_is_told(phone, net_pack):
    phone.refusal = "device unauthorized. This adb server's $ADB_VENDOR_KEYS is not set"
    with pytest.raises(DeviceError, match="does not trust this machine"):
        run("adb://", net_pack)


def test_a_full_phone_is_told_and_nothing_stays(phone, net_pack):
    phone.capacity = 1000
    with pytest.raises(DeviceError, match="its storage is full"):
        run("adb://?python=canned", net_pack)
    assert not list(phone.folder.iterdir())


def test_no_python_there_is_told(phone, net_pack):
    with pytest.raises(DeviceError, match="nopython cannot import"):
        run("adb://?python=nopython", net_pack)


def test_shell_characters_stay_characters(phone, net_pack):
    with pytest.raises(DeviceError, match="cannot import"):
        run(f"adb://?python={quote('$(touch evil);touch evil')}", net_pack)
    assert not list(phone.folder.iterdir())


PROGRAM = """#!{python}
import json, pathlib, sys
import numpy as np, onnxruntime as ort
pack, results = map(pathlib.Path, sys.argv[1:])
manifest = json.loads((pack / "manifest.json").read_text())
session = ort.InferenceSession(str(pack / "model.onnx"))
for number, sample in enumerate(manifest["samples"]):
    feed = {{p["name"]: np.load(pack / f) for p, f in zip(manifest["inputs"], sample["inputs"])}}
    (results / f"{{number:03}}").mkdir()
    for place, array in enumerate(session.run(None, feed)):
        np.save(results / f"{{number:03}}" / f"{{place}}.npy", array)
told = {{"runtime": {{"name": "onnxruntime", "version": "0"}}, "seconds": [0.1]}}
(results / "result.json").write_text(json.dumps(told))
"""


def test_a_program_of_ones_own_runs_there(phone, net_pack, tmp_path):
    file = tmp_path / "my runner"
    file.write_text(PROGRAM.format(python=sys.executable))
    result = run(f"adb://phone1?runner={quote(str(file))}", net_pack)
    assert result.passed
    assert result.latency.median_ms == 100.0
    assert not list(phone.folder.iterdir())


def test_a_program_that_is_not_here_is_told(phone, net_pack):
    with pytest.raises(DeviceError, match="no file '/nowhere/runner'"):
        run("adb://?runner=/nowhere/runner", net_pack)
