import pytest

from edgeq.whole_file import written_whole


def _fail_halfway(target):
    with written_whole(target) as file:
        file.write_text("half")
        raise OSError("half")


def test_a_file_is_replaced_when_all_of_it_is_there(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with written_whole(target) as file:
        file.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_there_outlives_a_failure(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="half"):
        _fail_halfway(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
