"""``edgeq table merge`` and ``edgeq table show``."""

import json

import pytest


@pytest.fixture
def shards(run, net, calib):
    """``0.calib`` to ``2.calib``."""
    names = [f"{number}.calib" for number in range(3)]
    for number, name in enumerate(names):
        options = ("--calib", calib, "-o", name, "--shard", f"{number}/3", "--threads", 1, "-q")
        assert run("calibrate", net, *options).exit_code == 0
    return names


@pytest.fixture
def table(run, net, calib, work):
    """``t.calib`` of all samples."""
    options = ("--calib", calib, "-o", "t.calib", "--threads", 1, "-q")
    assert run("calibrate", net, *options).exit_code == 0
    return work / "t.calib"


def test_shards_merge_to_the_table_of_one_run(run, shards, table, work):
    result = run("table", "merge", shards[2], shards[0], shards[1], "-o", "m.calib")
    assert result.exit_code == 0, result.stderr
    assert "24, 24 of them kept" in result.stdout
    assert (work / "m.calib").read_bytes() == table.read_bytes()


def test_missing_and_doubled_shards_are_named(run, shards, table, work, refused):
    refused(run("table", "merge", *shards[:2], "-o", "m.calib"), "missing: 2", "--allow-partial")
    refused(run("table", "merge", *shards[:2], shards[1], "-o", "m"), "1.calib: it holds shard 1")
    refused(run("table", "merge", table, shards[0], "-o", "m.calib"), "0.calib: ", "shards")
    refused(run("table", "merge", table, table, "-o", "m.calib"), "t.calib: it holds all samples")
    refused(run("table", "merge", *shards, "-o", shards[0]), "is read")
    refused(run("table", "merge", "none.calib", "-o", "m.calib"), "none.calib")
    assert not (work / "m.calib").exists()
    result = run("table", "merge", *shards[:2], "-o", "m.calib", "--allow-partial", "--json")
    document = json.loads(result.stdout)
    assert document["lacking"] == "of 3 shards, these are missing: 2"
    assert document["complete"] is False
    assert document["samples"] == 16


def test_the_values_are_shown(run, table):
    result = run("table", "show", table)
    assert result.exit_code == 0, result.stderr
    for name in ("image", "trunk", "positive", "pooled"):
        assert name in result.stdout
    assert "█" in result.stdout
    assert result.stderr == ""


def test_one_value_is_shown_with_the_ranges_of_all_calibrators(run, table):
    result = run("table", "show", table, "--value", "tr*")
    assert "trunk" in result.stdout
    assert "pooled" not in result.stdout
    assert "moving-average" in result.stdout


def test_it_is_shown_as_json(run, table):
    document = json.loads(run("table", "show", table, "--json").stdout)
    values = {value["name"]: value for value in document["values"]}
    assert document["value_count"] == len(values) == 5
    assert values["trunk"]["producer"] == "Relu"
    assert values["trunk"]["minimum"] == 0.0
    assert 0.2 < values["trunk"]["zero_fraction"] < 0.8
    assert values["trunk"]["ranges"] is None
    one = json.loads(run("table", "show", table, "--json", "--value", "trunk").stdout)["values"]
    low, high = one[0]["ranges"]["minmax"]
    assert (low, high) == (values["trunk"]["minimum"], values["trunk"]["maximum"])


def test_wrong_command_lines_are_told(run, table, refused, net):
    refused(run("table"), "Missing command")
    refused(run("table", "shw"), "shw")
    refused(run("table", "show", table, "--value", "trnk"), "Did you mean 'trunk'?")
    refused(run("table", "show", net), "not a calibration table")
    refused(run("table", "show"), "TABLE")
    refused(run("table", "merge", "-o", "m.calib"), "TABLE")


def test_help_is_there(run):
    for arguments in (("table",), ("table", "merge"), ("table", "show"), ("calibrate",)):
        assert run(*arguments, "--help").exit_code == 0


def test_channels_are_listed(run, table):
    result = run("table", "show", table, "--channels")
    assert result.exit_code == 0, result.stderr
    assert "widest" in result.stdout
    assert "trunk" in result.stdout
    document = json.loads(run("table", "show", table, "--json").stdout)
    found = {each["name"]: each["channels"] for each in document["values"]}
    assert found["trunk"]["count"] > 1
    assert found["trunk"]["axis"] == 1
