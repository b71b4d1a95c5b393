"""The runner in a pack: alone, as somebody without edgeq would run it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from editing import damage_weights, edit_manifest

from edgeq.device import runner

NO_EDGEQ = "import sys; sys.modules['edgeq'] = None; sys.modules['onnx'] = None\n"


@pytest.fixture
def alone(tmp_path):
    """Runs the runner of a pack in an interpreter that has no edgeq."""

    def call(pack, *words):
        with zipfile.ZipFile(pack) as archive:
            (tmp_path / "runner.py").write_bytes(archive.read("runner.py"))
        code = f"{NO_EDGEQ}import runner; sys.exit(runner.main(sys.argv[1:]))"
        return subprocess.run(
            [sys.executable, "-c", code, str(pack), "--seconds", "0", *map(str, words)],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return call


def test_a_pack_runs_with_nothing_but_numpy_and_onnxruntime(alone, net_pack, tmp_path):
    done = alone(net_pack, "--output", "found.json", "--profile")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pass  scores: worst difference 0")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["passed"]
    assert found["peak_memory_mb"] > 1
    assert "QLinearConv" in [row["op_type"] for row in found["kernels"]]
    times = [row["microseconds"] for row in found["nodes"]]
    assert times == sorted(times, reverse=True)
    assert {"name", "op_type", "provider", "microseconds"} == found["nodes"][0].keys()


def test_the_unpacked_folder_runs_too(alone, net_pack, tmp_path):
    with zipfile.ZipFile(net_pack) as archive:
        archive.extractall(tmp_path / "pack")
    (tmp_path / "runner.py").write_bytes((tmp_path / "pack/runner.py").read_bytes())
    done = subprocess.run(
        [sys.executable, "runner.py", "pack", "--seconds", "0"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_model_that_answers_otherwise_fails_with_the_place(alone, rewritten):
    done = alone(rewritten(damage_weights))
    assert done.returncode == 1
    assert "FAIL  scores: worst difference" in done.stdout
    assert "index [0, " in done.stdout


def test_a_damaged_entry_is_told(alone, rewritten):
    def damage(entries):
        entries["expected/000/0.npy"] = entries["expected/000/0.npy"][:-1] + b"x"

    done = alone(rewritten(damage, hashes=False))
    assert done.returncode == 2
    assert "expected/000/0.npy is damaged" in done.stderr


def test_a_newer_pack_is_told(alone, rewritten):
    path = rewritten(lambda e: edit_manifest(e, lambda m: m.update(version=9)))
    done = alone(path)
    assert done.returncode == 2
    assert "format version 9" in done.stderr


def test_no_pack_is_told(alone, net_pack, tmp_path):
    done = alone(net_pack, "--output", tmp_path / "no" / "folder")
    assert done.returncode != 0
    (tmp_path / "junk.zip").write_bytes(b"junk")
    done = subprocess.run(
        [sys.executable, "runner.py", "junk.zip"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def met(expected, got, **tolerance):
    meter = runner.Meter({"absolute": 0.0, "outliers": 0.0, **tolerance})
    meter.add(0, np.asarray(expected), np.asarray(got))
    return meter.result()


def test_what_is_within_the_tolerance_passes():
    assert met([1.0, 2.0], [1.0, 2.25], absolute=0.25)["passed"]
    assert not met([1.0, 2.0], [1.0, 2.25], absolute=0.2)["passed"]


def test_the_worst_place_is_told():
    found = met([[1, 2], [3, 4]], [[1, 2], [9, 3]], absolute=1)
    assert found["worst"] == {
        "difference": 6.0, "sample": 0, "index": [1, 0], "expected": 3, "got": 9,
    }  # fmt: skip
    assert (found["unequal"], found["beyond"], found["elements"]) == (2, 1, 4)


def test_equal_infinities_and_nans_are_equal():
    strange = [np.nan, np.inf, -np.inf]
    assert met(strange, strange)["passed"]


@pytest.mark.parametrize(
    ("expected", "got"), [([1.0], [np.nan]), ([np.nan], [1.0]), ([np.inf], [-np.inf])]
)
def test_no_number_where_one_is_expected_fails_whatever_is_allowed(expected, got):
    found = met(expected, got, absolute=1e30)
    assert not found["passed"]
    assert found["worst"]["difference"] == np.inf


def test_large_integers_differ_by_their_last_bit():
    assert not met(np.array([2**62]), np.array([2**62 + 1]))["passed"]


def test_shape_and_type_must_fit():
    assert "float32 [2]" in met(np.zeros(2, np.float32), np.zeros(2))["problem"]
    assert not met(np.zeros(2), np.zeros(3))["passed"]


def test_a_few_outliers_pass_where_some_are_allowed():
    got = np.arange(200)
    got[7] = 0
    assert met(np.arange(200), got, outliers=0.01)["passed"]
    assert not met(np.arange(200), got, outliers=0.001)["passed"]


def test_the_runner_keeps_to_what_old_pythons_understand():
    import ast

    text = Path(runner.__file__).read_text()
    ast.parse(text, feature_version=(3, 8))
