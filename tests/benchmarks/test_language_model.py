"""Rows that language_model.py has measured are not measured again."""

import json

import language_model


def test_rows_are_kept_by_model_and_name(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [("one", ["w4", "10.0"]), ("other", ["w4", "20.0"]), ("one", ["w8", "30.0"])]
    file.write_text("".join(json.dumps({"model": m, "row": r}) + "\n" for m, r in rows))
    assert language_model._kept(file, "one") == {"w4": ["w4", "10.0"], "w8": ["w8", "30.0"]}
    assert language_model._kept(tmp_path / "missing", "one") == {}
    assert language_model._kept(None, "one") == {}


def test_every_row_has_a_name_of_its_own():
    names = [each.name for each in (*language_model._ours(), *language_model._theirs())]
    assert len(set(names)) == len(names)
    assert {f"onnxruntime {kind} 4 bits 32" for kind in ("rtn", "hqq", "k_quant", "gptq")} < set(
        names
    )
