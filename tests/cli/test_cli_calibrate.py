"""``edgeq calibrate`` from files to a table, in one go or not, and ``quantize`` from it."""

import json
import signal
import subprocess
import sys
import time

import models
import numpy as np
import pytest

from edgeq import api
from edgeq.cli.interrupts import interruptible

SLOW = """
import time
from pathlib import Path
import numpy as np

def samples():
    for index in range(60):
        if index == 12:
            Path("begun").touch()
        if index > 12 and not Path("fast").exists():
            time.sleep(0.1)
        yield {"image": np.full((1, 3, 8, 8), index % 7, np.float32)}
"""


def test_a_table_is_written_and_quantized_from(run, net, calib, work):
    result = run("calibrate", net, "--calib", calib, "-o", "t.calib")
    assert result.exit_code == 0, result.stderr
    assert "24, 24 of them kept" in result.stdout
    assert "Wrote t.calib" in result.stdout
    assert run("quantize", net, "--calib-table", "t.calib", "-o", "a.onnx", "-q").exit_code == 0
    assert run("quantize", net, "--calib", calib, "-o", "b.onnx", "-q").exit_code == 0
    assert (work / "a.onnx").read_bytes() == (work / "b.onnx").read_bytes()
    assert not list(work.glob(".*"))


def test_json_is_the_only_thing_on_stdout(run, net, calib):
    result = run("calibrate", net, "--calib", calib, "-o", "t.calib", "--json")
    document = json.loads(result.stdout)
    assert document["schema"] == 1
    assert document["table"] == "t.calib"
    assert document["samples"] == 24
    assert document["complete"] is True
    assert document["value_count"] == 5
    assert result.stderr == ""


def test_quiet_prints_nothing(run, net, calib, work):
    result = run("calibrate", net, "--calib", calib, "-o", "t.calib", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert (work / "t.calib").is_file()


def test_options_reach_the_api(run, net, monkeypatch):
    seen = {}

    def calibrate(model, data, **options):
        seen.update(options, model=model, data=data)
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "calibrate", calibrate)
    result = run(
        "calibrate", net, "--calib", "DATA", "-o", "t.calib", "--recipe", "r.toml", "--exclude",
        "head*", "--exclude", "Conv", "--max-samples", 5, "--threads", 2, "--seed", 7, "--shard",
        "1/4", "--dask", "tcp://host:1", "--resume",
    )  # fmt: skip
    assert result.exit_code == 130
    assert result.stderr.splitlines() == ["error: interrupted, nothing was written"]
    for name in ("progress", "stop", "checkpoint"):
        del seen[name]
    assert str(seen.pop("recipe")) == "r.toml"
    assert seen == {
        "model": net,
        "data": "DATA",
        "target": "cpu",
        "exclude": ("head*", "Conv"),
        "max_samples": 5,
        "threads": 2,
        "seed": 7,
        "shard": (1, 4),
        "dask": "tcp://host:1",
        "resume": None,
    }


@pytest.mark.parametrize("shard", ["4/4", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_shard_that_there_is_not_is_refused(run, net, calib, refused, shard):
    refused(run("calibrate", net, "--calib", calib, "-o", "t", f"--shard={shard}"), "--shard")


def test_the_table_must_be_writable_and_no_input(run, net, calib, work, refused):
    refused(run("calibrate", net, "--calib", calib, "-o", net), "is read")
    refused(run("calibrate", net, "--calib", calib, "-o", work), "is a folder")
    refused(run("calibrate", net, "--calib", calib, "-o", "no/t.calib"), "there is no folder")
    refused(run("calibrate", net, "--calib", calib), "--output")


def test_samples_and_table_together_are_refused(run, net, calib, refused):
    result = run("quantize", net, "--calib", calib, "--calib-table", "t.calib")
    refused(result, "--calib and --calib-table")
    refused(run("quantize", net), "--calib DATA")


def test_a_table_that_does_not_fit_is_refused(run, net, calib, refused, work):
    run("calibrate", net, "--calib", calib, "-o", "t.calib", "-q")
    refused(
        run("quantize", net, "--calib-table", "t.calib", "--exclude", "head"),
        "t.calib: ", "exclude is empty in the table and 'head' here",
    )  # fmt: skip
    refused(run("quantize", net, "--calib-table", "t.calib", "--max-samples", 3), "max_samples")
    refused(run("quantize", net, "--calib-table", "t.calib", "--seed", 3), "when it was made")
    refused(run("quantize", net, "--calib-table", net), "not a calibration table")
    refused(run("quantize", net, "--calib-table", "none.calib"), "No such file")
    run("calibrate", net, "--calib", calib, "-o", "s.calib", "-q", "--shard", "0/2")
    refused(run("quantize", net, "--calib-table", "s.calib"), "missing: 1", "--allow-partial")
    result = run(
        "quantize", net, "--calib-table", "s.calib", "--allow-partial", "--json", "-o", "o.onnx"
    )
    assert json.loads(result.stdout)["samples"] == 12


def test_going_on_with_other_data_is_refused(run, net, calib, refused):
    run("calibrate", net, "--calib", calib, "-o", "t.calib", "-q")
    (calib / "00.npz").unlink()
    refused(
        run("calibrate", net, "--calib", calib, "-o", "t.calib", "--resume"),
        "the hash of the first samples",
    )


@pytest.fixture
def slow(net, work):
    (work / "slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "edgeq", "calibrate", net, "--calib", "slow.py:samples"]
    return [*command, "-o", "t.calib", "--threads", "1"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without a signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_what_it_saw_and_goes_on(run, net, work, slow, number):
    process = subprocess.Popen(slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (work / "begun").exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    first, second = err.splitlines()
    assert "t.calib: the run was interrupted after" in first
    assert "--resume" in second
    seen = api.load_table(work / "t.calib").collection.samples
    assert 8 < seen < 60
    assert run("quantize", net, "--calib-table", "t.calib").exit_code == 2
    (work / "fast").touch()
    options = ("--calib", "slow.py:samples", "--threads", 1, "-q")
    assert run("calibrate", net, *options, "-o", "t.calib", "--resume").exit_code == 0
    assert run("calibrate", net, *options, "-o", "whole.calib").exit_code == 0
    assert (work / "t.calib").read_bytes() == (work / "whole.calib").read_bytes()


def test_resuming_without_a_table_begins(run, net, calib, work):
    result = run("calibrate", net, "--calib", calib, "-o", "t.calib", "--resume", "-q")
    assert result.exit_code == 0
    content = (work / "t.calib").read_bytes()
    assert run("calibrate", net, "--calib", calib, "-o", "t.calib", "--resume", "-q").exit_code == 0
    assert (work / "t.calib").read_bytes() == content


def test_a_damaged_sample_leaves_what_was_seen(run, net, calib, work, refused):
    good = (calib / "20.npz").read_bytes()
    (calib / "20.npz").write_bytes(b"damaged")
    refused(run("calibrate", net, "--calib", calib, "-o", "t.calib"), "20.npz")
    assert api.load_table(work / "t.calib").collection.samples == 20
    (calib / "20.npz").write_bytes(good)
    assert run("calibrate", net, "--calib", calib, "-o", "t.calib", "--resume").exit_code == 0
    assert api.load_table(work / "t.calib").whole


def test_a_signal_is_a_wish_once_somebody_listens():
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_many_samples_are_named_after_their_index(run, work, net):
    np.savez(work / "stack.npz", image=np.concatenate([s["image"][None] for s in models.images(9)]))
    for number in range(3):
        shard = f"{number}/3"
        result = run(
            "calibrate", net, "--calib", "stack.npz", "-o", f"{number}.calib", "--shard", shard
        )
        assert result.exit_code == 0, result.stderr
        found = api.load_table(work / f"{number}.calib").collection.indices.tolist()
        assert found == [number, number + 3, number + 6]
        assert f"{number} of 3" in result.stdout
