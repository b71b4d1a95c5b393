"""An interruption is heeded wherever it falls."""

import signal
import sys
import threading

import onnx
import pytest

from edgeq.cli import interrupts
from edgeq.cli.interrupts import Heeded


class Closing:
    """Something that is interrupted, or fails, while it is being closed."""

    def __init__(self, error):
        self.error = error

    def __del__(self):
        raise self.error


@pytest.fixture
def listening():
    """Tests that run in the background may have been told to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
def test_one_that_falls_into_a_destructor_comes_once_more():
    def work():
        with Heeded():
            Closing(KeyboardInterrupt())
            threading.Event().wait(60)

    with pytest.raises(KeyboardInterrupt):
        work()


def test_other_failures_of_destructors_are_told_as_ever(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    with Heeded():
        Closing(ValueError("x"))
    assert [each.exc_type for each in told] == [ValueError]


def test_nothing_comes_once_the_command_has_ended(monkeypatch):
    monkeypatch.setattr(interrupts, "_SOON", 60.0)
    before = sys.unraisablehook
    with Heeded():
        heeded = sys.unraisablehook
        Closing(KeyboardInterrupt())
        again = heeded.__self__._again
    assert sys.unraisablehook is before
    again.join(10)
    assert not again.is_alive()


def interrupted(monkeypatch, place):
    """Ctrl-C falls as soon as a function is called."""

    def falls(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, falls)


@pytest.mark.parametrize("older", [False, True])
def test_what_was_written_by_then_is_told(run, net, monkeypatch, older):
    out, report = net.with_name("out.onnx"), net.with_name("r.json")
    if older:
        out.write_bytes(b"an older result")
        report.write_text("{}")
    interrupted(monkeypatch, "edgeq.cli.optimize.write_reports")
    result = run("optimize", net, "-o", out, "--report", report, "--no-validate")
    assert result.exit_code == 130
    assert result.stderr == f"error: interrupted, {out} was written, {report} not\n"
    assert onnx.load(out).graph.node


def test_all_of_several_files_are_told(run, net, monkeypatch):
    out, report = net.with_name("out.onnx"), net.with_name("r.json")
    interrupted(monkeypatch, "edgeq.report.optimization_terminal.render")
    result = run("optimize", net, "-o", out, "--report", report, "--no-validate")
    assert result.stderr == f"error: interrupted, {out} and {report} were written\n"


def test_an_older_result_is_not_called_written(run, net, monkeypatch):
    out = net.with_name("out.onnx")
    out.write_bytes(b"an older result")
    interrupted(monkeypatch, "edgeq.cli.optimize._optimize")
    result = run("optimize", net, "-o", out)
    assert result.stderr == "error: interrupted, nothing was written\n"
    assert out.read_bytes() == b"an older result"
