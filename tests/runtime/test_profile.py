"""Profiles tell where the time goes, of one model or of several that run in turn."""

import graphs
import pytest

from edgeq.runtime.profile import profile, profiles
from edgeq.runtime.session import SessionConfig

TEXT = "n (float[1,4,8,8] x) => (float[1,4,8,8] z) {{ [{first}] a = Relu(x) [last] z = Exp(a) }}"
PLAIN = SessionConfig(1, optimize=False)


def test_every_node_that_ran_has_a_time():
    model = graphs.build(TEXT.format(first="first"))
    found = profile(model, PLAIN, graphs.feeds(model, 2))
    assert {(spent.name, spent.op_type) for spent in found} == {("first", "Relu"), ("last", "Exp")}
    assert all(spent.microseconds > 0 for spent in found)
    assert sum(spent.share for spent in found) == pytest.approx(1)


def test_models_that_run_in_turn_are_told_apart():
    models = [graphs.build(TEXT.format(first=name)) for name in ("one", "other")]
    found = profiles(models, PLAIN, graphs.feeds(models[0], 1))
    assert [{spent.name for spent in each} for each in found] == [
        {"one", "last"},
        {"other", "last"},
    ]
