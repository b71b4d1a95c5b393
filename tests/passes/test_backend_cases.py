"""Every case of ONNX's own backend tests that onnxruntime runs gives the same after PREPARE."""

import onnx_ir as ir
import pytest
from backend_cases import node_cases

from edgeq.errors import EdgeqError
from edgeq.graph.interface import Interface, require_same
from edgeq.passes.prepare import prepare
from edgeq.runtime.session import Session, SessionConfig

EVERY = 7
SHARDS = 4


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
    for case in node_cases()[::EVERY][shard::SHARDS]:
        model = ir.from_proto(case.model)
        if not runs(model, case.feeds):
            continue
        done = prepare(model, case.feeds)
        assert done.proof.holds, (case.name, done)
        require_same(Interface.of(model), Interface.of(done.model))
        ran += 1
    assert ran > 30
