"""Lists show everything there is, to people and to programs."""

import json

import pytest

from edgeq.calibration import discovery
from edgeq.errors import PluginError
from edgeq.ops import RULES
from edgeq.passes.pipelines import (
    FINALIZE,
    PREPARE,
    PREPARE_FOR_ONNXRUNTIME,
    for_quantizing,
    for_target,
    names,
)
from edgeq.refinement.steps import STEPS
from edgeq.targets import TARGETS
from edgeq.targets.board import boards

KINDS = ("calibrators", "targets", "boards", "ops", "passes", "steps", "methods", "metrics")
NAMES = {
    "calibrators": ["auto", *discovery.discover()],
    "targets": [target.name for target in TARGETS],
    "boards": [board.name for board in boards()],
    "ops": [rule.op_type for rule in RULES],
    "passes": [
        *dict.fromkeys(
            name
            for pipeline in (
                for_target(None),
                PREPARE,
                *map(for_target, TARGETS),
                *map(for_quantizing, TARGETS),
                PREPARE_FOR_ONNXRUNTIME,
                FINALIZE,
            )
            for name in names(pipeline)
        )
    ],
    "steps": [step.name for step in STEPS],
    "methods": ["rtn", "hqq", "k-quant", "gptq", "awq"],
    "metrics": ["top1", "top5", "perplexity", "agreement", "cosine", "signal"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_json_has_a_row_for_each(run, kind):
    result = run("list", kind, "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [row.get("name", row.get("operator")) for row in rows] == NAMES[kind]
    assert len({frozenset(row) for row in rows}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_names_each(run, kind):
    result = run("list", kind)
    assert result.exit_code == 0
    for name in NAMES[kind]:
        assert name in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_calibrator_is_shown_with_all_that_is_known(run):
    rows = {row["name"]: row for row in json.loads(run("list", "calibrators", "--json").stdout)}
    percentile = rows["percentile"]
    assert percentile["parameters"] == {"level": 99.99}
    assert percentile["distribution"] == "edgeq"
    assert "2020" in percentile["source"]
    assert percentile["summary"]
    shown = run("list", "calibrators").stdout
    assert "level=99.99" in shown
    assert "arXiv:2004.09602" in shown


def test_a_calibrator_that_cannot_be_imported_hides_no_other(run, monkeypatch):
    real = discovery.describe

    def describe(name):
        if name == "entropy":
            raise PluginError("cannot be imported (OSError: x)", where="w", remedy="Update it")
        return real(name)

    monkeypatch.setattr(discovery, "describe", describe)
    shown = run("list", "calibrators").stdout
    assert "unusable: cannot be imported (OSError: x)" in shown
    assert "Update it" in shown
    assert "percentile" in shown


def test_every_pass_says_what_it_does(run):
    assert all(row["summary"] for row in json.loads(run("list", "passes", "--json").stdout))


def test_programs_are_told_where_a_target_comes_from(run):
    rows = {row["name"]: row for row in json.loads(run("list", "targets", "--json").stdout)}
    assert all(row["sources"] for row in rows.values())
    assert rows["x86-avx2"]["pair sums"] == "all"
    assert rows["tensorrt"]["activations"] == "int8 symmetric"
    assert "ConvTranspose" in rows["edge-generic"]["operators"]
    assert not rows["nnapi"]["dynamic shapes"]
    assert "sources" not in run("list", "targets").stdout
