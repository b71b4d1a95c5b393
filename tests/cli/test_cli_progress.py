"""The progress bar draws for people, and a run can be interrupted."""

import io
import os
import signal
import subprocess
import sys

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from edgeq.cli.progress import TITLES, TerminalProgress, duration, progress_bar, progress_text


def test_the_text_tells_rate_and_time_left():
    assert progress_text(0, 64, 0.0) == "0 of 64"
    assert progress_text(16, 64, 8.0) == "16 of 64, 2/s, 24 s left"
    assert progress_text(64, 64, 8.0) == "64 of 64, 8/s"
    assert progress_text(16, None, 8.0) == "16 samples, 2/s"
    assert duration(125) == "2 min 5 s"


def test_nothing_is_drawn_where_nobody_looks(monkeypatch):
    with progress_bar(silent=True) as progress:
        assert progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with progress_bar(silent=False) as progress:
        assert progress is None


def test_stages_and_samples_are_drawn(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bar(silent=False) as progress:
        assert isinstance(progress, TerminalProgress)
        progress.stage("load")


@pytest.mark.parametrize("total", [None, 8])
def test_one_stage_at_a_time(total):
    columns = TextColumn("{task.description}: {task.fields[detail]}", markup=False)
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    drawn = Progress(columns, console=console, auto_refresh=False)
    progress = TerminalProgress(drawn)
    progress.samples(1, total)
    assert not drawn.tasks
    for name in (*TITLES, "a new stage [red]"):
        progress.stage(name)
        progress.samples(4, total)
        assert [task.description for task in drawn.tasks] == [TITLES.get(name, name)]
        assert drawn.tasks[0].fields["detail"].startswith("4 of 8" if total else "4 samples")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def heed_interrupts():
    """A shell's background jobs, and what they start, ignore Ctrl-C: the child shall not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_run_leaves_nothing(net):
    folder = net.parent
    (folder / "slow.py").write_text(
        "import os, time\n"
        "def samples():\n"
        "    os.write(1, b'reading\\n')\n"
        "    time.sleep(60)\n"
        "    return []\n"
    )
    before = {path.name for path in folder.iterdir()}
    command = [sys.executable, "-B", "-m", "edgeq", "quantize", net, "--calib", "slow.py:samples"]
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
    ) as process:
        assert process.stdout.readline() == b"reading\n"
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == b"error: interrupted, nothing was written\n"
    assert {path.name for path in folder.iterdir()} == before
