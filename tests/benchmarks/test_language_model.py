"""Rows that language_model.py has measured are not measured again."""

import json

import language_model
import pytest


def test_rows_are_kept_by_model_and_name(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [("one", ["w4", "10.0"]), ("other", ["w4", "20.0"]), ("one", ["w8", "30.0"])]
    file.write_text("".join(json.dumps({"model": m, "row": r}) + "\n" for m, r in rows))
    assert language_model._kept(file, "one") == {"w4": ["w4", "10.0"], "w8": ["w8", "30.0"]}
    assert language_model._kept(tmp_path / "missing", "one") == {}
    assert language_model._kept(None, "one") == {}


@pytest.mark.parametrize(
    "rows", [[*language_model._ours(), *language_model._theirs()], language_model._cached()]
)
def test_every_row_has_a_name_of_its_own(rows):
    names = [each.name for each in rows]
    assert len(set(names)) == len(names)


def test_every_method_of_the_peer_has_a_row():
    names = [each.name for each in language_model._theirs()]
    assert {f"onnxruntime {kind} 4 bits 32" for kind in ("rtn", "hqq", "k_quant", "gptq")} < set(
        names
    )


def test_a_name_chooses_its_row_and_a_part_all_that_hold_it():
    rows = [language_model.Candidate(n, ()) for n in ("w4 32", "w4 32 *=4", "w4 64", "w8")]
    assert [r.name for r in language_model._chosen(rows, "w8,w4 32")] == ["w4 32", "w8"]
    assert [r.name for r in language_model._chosen(rows, "w4")] == ["w4 32", "w4 32 *=4", "w4 64"]
    assert language_model._chosen(rows, "") == rows
