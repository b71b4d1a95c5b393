"""As many samples are taken as there is time for, and a few in any case."""

import graphs

from edgeq.api.affordable import Affordable


def net():
    return graphs.build("n (float[1,4] x) => (float[1,4] y) { y = Neg(x) }")


def test_without_time_eight_are_taken():
    model = net()
    assert Affordable(model, 0.0).of(graphs.feeds(model, 12), 0.5) == 8


def test_all_are_taken_where_there_are_not_more_than_there_is_time_for():
    model = net()
    assert Affordable(model, 0.0).of(graphs.feeds(model, 8), 0.5) is None
    assert Affordable(model, 3600.0).of(graphs.feeds(model, 12), 0.5) is None


def test_half_of_the_time_is_for_half_of_the_samples(monkeypatch):
    monkeypatch.setattr("edgeq.api.affordable._timed", lambda session, sample: 0.25)
    model = net()
    affordable = Affordable(model, 10.0)
    samples = graphs.feeds(model, 50)
    assert affordable.of(samples, 1.0) == 40
    assert affordable.of(samples, 0.5) == 20
