"""An interruption is heeded wherever it falls."""

import signal
import sys
import threading

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
