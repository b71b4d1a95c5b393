"""onnxruntime reports nothing about the models of our users, unless they want it to."""

import os
import subprocess
import sys

import models
import onnx

OPENS = "import sys, pathlib, edgeq.runtime.session as s; s.Session(pathlib.Path(sys.argv[1]))"
TELLS = "import os, edgeq.runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"


def python(home, code, *arguments, **told):
    kept = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "CI")}
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), **told},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_a_session_leaves_nothing_in_the_home_folder(tmp_path):
    onnx.save(models.identity(), tmp_path / "model.onnx")
    python(tmp_path / "home", OPENS, tmp_path / "model.onnx")
    assert not [each for each in (tmp_path / "home").rglob("*") if each.is_file()]


def test_what_the_user_says_stands(tmp_path):
    assert python(tmp_path / "home", TELLS, ORT_DISABLE_TELEMETRY="0") == "0"
