"""The plan as JSON keeps every number."""

import json

import graphs
import models
import numpy as np

from edgeq.graph import loader


def plan_of(model, samples):
    return graphs.quantize(loader.load(model).model, samples).plan


def test_json_keeps_every_bit_of_every_number():
    plan = plan_of(models.conv_net(), models.images(4))
    document = json.loads(plan.to_json())
    assert document["schema"] == 1
    for entry, row in zip(plan.activations, document["activations"], strict=True):
        assert np.float32(row["scale"]) == entry.params.scale
        assert row["zero_point"] == entry.params.zero_point
        assert row["dtype"] == "uint8"
    for entry, row in zip(plan.weights, document["weights"], strict=True):
        np.testing.assert_array_equal(np.array(row["scale"], np.float32), entry.params.scale)
        assert row["edge"] == [entry.edge.node, entry.edge.input]
        assert row["axis"] == entry.params.axis


def test_json_names_readers_drops_dynamic_nodes_and_decisions():
    document = json.loads(plan_of(models.conv_net(), models.images(4)).to_json())
    readers = {row["value"]: row["readers"] for row in document["activations"]}
    assert readers["image"] == [["stem", 0]]
    assert set(document["dropped"]) == {"inner_relu"}
    dynamic = json.loads(plan_of(models.mlp(), models.rows(4)).to_json())
    assert set(dynamic["dynamic"]) == {"first", "second"}
    assert {d["node"]: d["form"] for d in dynamic["decisions"]}["first"] == "dynamic"


def test_the_same_model_and_data_make_the_same_plan():
    first, second = (plan_of(models.conv_net(), models.images(4)) for _ in range(2))
    assert first.to_json() == second.to_json()
