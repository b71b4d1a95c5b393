"""Bad input: one clear message with the remedy, exit code 2, nothing written, input untouched."""

import os

import models
import numpy as np
import onnx
import pytest

from edgeq.cli import output


def snapshot(folder):
    """Every file of the folder with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refuse(run, refused, work):
    """Runs ``edgeq quantize`` and asserts that it is refused and leaves everything as it is."""

    def check(*arguments, said):
        before = snapshot(work)
        refused(run("quantize", *arguments), *said)
        assert snapshot(work) == before

    return check


def write(path, content):
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no such file"),
        (b"", "empty"),
        (b"hello, I am a text", "looks like a text file"),
        (b"PK\x03\x04" + bytes(100), "zip archive"),
        (np.random.default_rng(0).bytes(500), "Not"),
        (models.conv_net().SerializeToString()[:900], "Not a complete ONNX model"),
    ],
    ids=["missing", "empty", "text", "zip", "noise", "truncated"],
)
def test_what_is_no_model(refuse, work, calib, content, said):
    if content is not None:
        write(work / "bad.onnx", content)
    refuse("bad.onnx", "--calib", calib, said=["bad.onnx", said])


def test_a_folder_is_no_model(refuse, calib, net):
    refuse(calib, "--calib", calib, said=["folder"])


def test_a_model_that_the_scheme_cannot_reach(refuse, work):
    onnx.save(models.elementwise(), work / "plain.onnx")
    models.save_stack(work / "rows.npz", models.rows(20))
    refuse("plain.onnx", "--calib", "rows.npz", said=["no convolution", "Leave it as it is"])


def test_a_model_that_is_quantized_already(refuse, work):
    onnx.save(models.quantized(), work / "done.onnx")
    models.save_stack(work / "rows.npz", models.rows(20))
    refuse("done.onnx", "--calib", "rows.npz", said=["quantized already", "float model"])


def test_external_data_outside_of_the_folder(refuse, work, calib):
    (work / "secret").write_bytes(bytes(4096))
    (work / "inner").mkdir()
    model = models.with_external_data(models.conv_net(), "../secret")
    write(work / "inner" / "net.onnx", model.SerializeToString())
    refuse("inner/net.onnx", "--calib", calib, said=["../secret"])


def test_no_samples(refuse, net, work):
    (work / "none").mkdir()
    refuse(net, "--calib", "none", said=["no samples"])
    refuse(net, "--calib", "missing", said=["missing", "no such file or folder"])
    refuse(net, said=["--calib", "samples"])


def test_one_sample_is_too_few(refuse, net, work):
    (work / "one").mkdir()
    np.savez(work / "one" / "0.npz", **models.images(1)[0])
    refuse(net, "--calib", "one", said=["one sample is too few", "Give at least 16"])


def test_few_samples_are_a_warning(run, net, work):
    (work / "two").mkdir()
    for index, sample in enumerate(models.images(2)):
        np.savez(work / "two" / f"{index}.npz", **sample)
    result = run("quantize", net, "--calib", "two")
    assert result.exit_code == 0, result.stderr
    assert "Only 2 calibration samples" in result.stdout


BAD_SAMPLES = {
    "name": ({"picture": np.zeros((1, 3, 8, 8), np.float32)}, ["'picture'", "image"]),
    "shape": ({"image": np.zeros((1, 3, 9, 9), np.float32)}, ["[1, 3, 9, 9]", "[N, 3, 8, 8]"]),
    "layout": ({"image": np.zeros((1, 8, 8, 3), np.float32)}, ["NHWC", "transpose"]),
    "dtype": ({"image": np.full((1, 3, 8, 8), "x")}, ["'image'"]),
    "nan": ({"image": np.full((1, 3, 8, 8), np.nan, np.float32)}, ["NaN"]),
    "inf": ({"image": np.full((1, 3, 8, 8), np.inf, np.float32)}, ["infinite"]),
}


@pytest.mark.parametrize(("arrays", "said"), BAD_SAMPLES.values(), ids=BAD_SAMPLES)
@pytest.mark.parametrize("position", [0, 19])
def test_samples_that_do_not_fit(refuse, net, work, arrays, said, position):
    (work / "data").mkdir()
    for index, sample in enumerate(models.images(20)):
        np.savez(work / "data" / f"{index:02}.npz", **(arrays if index == position else sample))
    refuse(net, "--calib", "data", said=[f"{position:02}.npz", *said])


def test_a_picture_that_cannot_be_read(refuse, net, work):
    (work / "pictures").mkdir()
    (work / "pictures" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    refuse(net, "--calib", "pictures", said=["a.png"])


def test_a_function_that_fails(refuse, net, work):
    (work / "load.py").write_text("def samples():\n    raise OSError('disk gone')")
    refuse(net, "--calib", "load.py:samples", said=["load.py:samples", "disk gone"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "cpuu"), "Did you mean 'cpu'?"),
        (("--calibrator", "percentil"), "Did you mean 'percentile'?"),
        (("--calibrator", "percentile:levle=9"), "Did you mean 'level'?"),
        (("--calibrator", "percentile:level=x"), "level takes float"),
        (("--scheme", "fp9"), "Did you mean 'fp"),
        (("--scheme", "w4", "--block-size", "20"), "power of two"),
        (("--scheme", "w4", "--layer-bits", "head"), "no pattern with bits"),
        (("--scheme", "int9"), "Did you mean 'int8'?"),
        (("--recipe", "missing.toml"), "missing.toml"),
        (("--max-drop", "1%"), "--eval"),
        (("--metric", "top1"), "--eval"),
        (("--time-limit", "60"), "--max-drop"),
        (("--skip-step", "bais"), "Did you mean 'bias'"),
        (("--eval", "calib", "--metric", "top2"), "Did you mean 'top"),
        (("--eval", "calib", "--metric", "top1"), "label"),
        (("--eval", "calib", "--metric", "top1", "--max-drop", "much"), "'much' is no drop"),
        (("--eval", "missing", "--metric", "top1"), "no such file or folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_choices(refuse, net, calib, options, said):
    refuse(net, "--calib", calib, *options, said=[said])


def test_a_wrong_recipe(refuse, net, calib, work):
    (work / "r.toml").write_text('exclued = ["head"]')
    refuse(net, "--calib", calib, "--recipe", "r.toml", said=["Did you mean 'exclude'?"])


OUTPUTS = {
    "folder": ("-o", "calib", "is a folder"),
    "no folder": ("-o", "nowhere/out.onnx", "there is no folder"),
    "the input": ("-o", "net.onnx", "is a file that is read"),
    "the input by another name": ("-o", "calib/../net.onnx", "is a file that is read"),
    "a sample": ("-o", "calib/03.npz", "is a file that is read"),
    "report in no folder": ("--report", "nowhere/r.json", "there is no folder"),
    "report over the input": ("--report", "net.json", "is a file that is read"),
    "report over the output": ("--report", "net.int8.json", "is a file that is read"),
    "a page in no folder": ("--report", "nowhere/r.html", "there is no folder"),
    "another suffix": ("--report", "r.txt", "--report FILE.html"),
}


@pytest.mark.parametrize(("option", "path", "said"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_that_cannot_be_written_are_refused_before_the_work(
    refuse, net, calib, work, monkeypatch, option, path, said
):
    def quantize(*_arguments, **_options):
        pytest.fail("the work began")

    monkeypatch.setattr("edgeq.api.quantize", quantize)
    model = net
    if path.endswith(".json") and "/" not in path:
        model = net.rename(work / "net.json")
    more = ("-o", "net.int8.json") if path == "net.int8.json" else ()
    refuse(model, "--calib", calib, option, path, *more, said=[said])


def test_a_folder_without_permission(refuse, net, calib, monkeypatch):
    # root may write anywhere, so the answer of the system is replaced.
    monkeypatch.setattr(output.os, "access", lambda path, mode: not mode & os.W_OK)
    refuse(net, "--calib", calib, said=["not writable", "-o"])


def test_an_input_behind_a_link_is_not_overwritten(refuse, net, calib, work):
    (work / "link.onnx").symlink_to(net)
    refuse(net, "--calib", calib, "-o", "link.onnx", said=["is a file that is read"])


def test_a_failure_while_writing_leaves_nothing(refuse, net, calib, monkeypatch):
    def write_bytes(_path, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", write_bytes)
    refuse(net, "--calib", calib, "-q", said=["No space left on device"])


def test_names_that_no_file_can_have(refuse, net, calib):
    refuse("n" * 5000, "--calib", calib, said=["too long"])
    refuse(net, "--calib", calib, "-o", "n" * 5000, said=["too long"])
    refuse("nowhere/net.onnx", "--calib", calib, said=["There is no such file"])


def test_an_older_result_between_the_samples_is_replaced(run, net, calib):
    model = net.rename(calib / "net.onnx")
    for _ in range(2):
        result = run("quantize", model, "--calib", calib, "-q", "--report", calib / "r.json")
        assert result.exit_code == 0, result.stderr
