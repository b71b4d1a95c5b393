"""Every case of ONNX's own backend tests that onnxruntime runs gives the same after PREPARE."""

import warnings

import onnx_ir as ir
import pytest
from onnx.backend.test.loader import load_model_tests

from edgeq.errors import EdgeqError
from edgeq.graph.interface import Interface, require_same
from edgeq.passes.prepare import prepare
from edgeq.runtime.session import Session, SessionConfig

EVERY = 7
SHARDS = 4


def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [c for c in load_model_tests(kind="node") if c.model is not None][::EVERY]


def samples(case):
    names = [value.name for value in case.model.graph.input]
    return [dict(zip(names, inputs, strict=False)) for inputs, _ in case.data_sets]


def runs(model, feeds):
    try:
        session = Session(model, SessionConfig(optimize=False, threads=1))
        for feed in feeds:
            session.run(feed)
    except EdgeqError:
        return False
    return True


@pytest.mark.parametrize("shard", range(SHARDS))
def test_results_stay(shard):
    ran = 0
    for case in cases()[shard::SHARDS]:
        model = ir.from_proto(case.model)
        feeds = samples(case)
        if not runs(model, feeds):
            continue
        done = prepare(model, feeds)
        assert done.proof.holds, (case.name, done)
        require_same(Interface.of(model), Interface.of(done.model))
        ran += 1
    assert ran > 30
