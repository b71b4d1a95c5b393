"""Runs the program in this process, and makes files to run it on."""

import models
import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from edgeq.cli.main import edgeq


@pytest.fixture
def run():
    """Runs ``edgeq`` with arguments; the result has exit_code, stdout and stderr."""

    def call(*arguments):
        return CliRunner().invoke(edgeq, [str(each) for each in arguments], prog_name="edgeq")

    return call


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def net(work):
    """``net.onnx``, a small convolutional network."""
    onnx.save(models.conv_net(), work / "net.onnx")
    return work / "net.onnx"


@pytest.fixture
def calib(work):
    """``calib/`` with 24 samples for it."""
    (work / "calib").mkdir()
    for index, sample in enumerate(models.images(24)):
        np.savez(work / "calib" / f"{index:02}.npz", **sample)
    return work / "calib"


@pytest.fixture
def eval_data(work):
    """``eval.npz`` with random labels."""
    models.save_stack(work / "eval.npz", models.images(12, seed=9), label=np.arange(12) % 5)
    return work / "eval.npz"


@pytest.fixture
def refused():
    """Asserts that a run ended with the user's mistake, told well."""

    def check(result, *said):
        assert result.exit_code == 2, (result.stdout, result.stderr, result.exception)
        lines = result.stderr.splitlines()
        assert len(lines) == 2, result.stderr
        assert lines[0].startswith("error: ")
        assert len(lines[1].strip()) > 3
        assert "Traceback" not in result.stderr
        assert not result.stdout
        for part in said:
            assert part in result.stderr

    return check
