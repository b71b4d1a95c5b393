"""DATA is of exactly one kind, or the message lists what there is and what could be."""

import numpy as np
import pytest
from PIL import Image

from edgeq.calibration.sources import InputSpec, open_source
from edgeq.errors import DataError

X = InputSpec("x", np.dtype(np.float32), (1, 3, 4, 4))


def test_an_empty_folder_is_met_with_what_is_accepted(tmp_path):
    with pytest.raises(DataError, match=r"no samples; found: no files.*pictures.*\.npz.*wav"):
        open_source(tmp_path, [X])


def test_a_folder_of_something_else_is_met_with_what_was_found(tmp_path):
    for name in ("a.txt", "b.txt", "c.csv"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"found: 2 \.txt, 1 \.csv"):
        open_source(tmp_path, [X])


def test_arrays_in_subfolders_are_said_to_lie_there(tmp_path):
    (tmp_path / "deep").mkdir()
    np.save(tmp_path / "deep" / "a.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"found: 1 \.npy in subfolders"):
        open_source(tmp_path, [X])


def test_a_mixed_folder_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1, 3, 4, 4)))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"more than one kind.*pictures.*\.npy.*found: 1 \.npy"):
        open_source(tmp_path, [X])


def test_other_and_hidden_files_do_not_disturb(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for name in ("README.txt", ".hidden.npy", "Thumbs.db"):
        (tmp_path / name).write_text("")
    assert len(list(open_source(tmp_path, [X]))) == 1


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: there is no such file or folder"):
        open_source(tmp_path / "nowhere", [X])


def test_a_file_of_no_known_kind_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"a\.txt: is not a file of samples.*one \.npz file"):
        open_source(tmp_path / "a.txt", [X])


def test_an_existing_path_is_preferred_to_a_reference(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        (tmp_path / "load:samples").mkdir()
    except OSError:
        pytest.skip("this file system has no colons in names")
    Image.new("RGB", (4, 4)).save(tmp_path / "load:samples" / "a.png")
    assert open_source("load:samples", [X]).description == "1 picture in load:samples/"


def test_symlinks_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "real" / "a.png")
    try:
        (tmp_path / "link").symlink_to(tmp_path / "real")
    except OSError:
        pytest.skip("this system makes no symlinks")
    assert len(list(open_source(tmp_path / "link", [X]))) == 1
