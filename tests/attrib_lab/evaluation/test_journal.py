"""Journals keep batches whole: whatever bytes a kill left behind, what is read again are complete batches."""

import json

import pytest

from attrib_lab.evaluation.journal import Journal, check_settings
from attrib_lab.terminal.errors import UserError


FIRST = [{"key": "0", "value": 1.5}, {"key": "1", "value": None}]
SECOND = [{"key": "2", "value": 0.1}]


def reopened(path):
    journal = Journal(path)
    journal.close()
    return journal.entries


def test_every_torn_end_leaves_complete_batches(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append(FIRST)
    whole = path.stat().st_size
    journal.append(SECOND)
    assert journal.entries == FIRST + SECOND
    journal.close()
    content = path.read_bytes()
    assert reopened(path) == FIRST + SECOND
    for end in range(len(content)):
        path.write_bytes(content[:end])
        assert reopened(path) == (FIRST if end >= whole else [])
        assert path.stat().st_size == (whole if end >= whole else 0)


def test_going_on_after_a_torn_end_gives_the_same_bytes(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append(FIRST)
    journal.append(SECOND)
    journal.close()
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    journal = Journal(path)
    journal.append(SECOND)
    journal.close()
    assert path.read_bytes() == content


def test_figures_come_back_exactly(tmp_path):
    values = [0.1 + 0.2, 1e-310, -1 / 3]
    journal = Journal(tmp_path / "j")
    journal.append([{"scores": values}])
    journal.close()
    assert reopened(tmp_path / "j") == [{"scores": values}]


@pytest.mark.parametrize("content", [b"no json\n", b'{"batch": 2}\n', b"[1]\n"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "j").write_bytes(content + b'{"batch": 1}\n')
    with pytest.raises(UserError, match="cannot be read"):
        Journal(tmp_path / "j")
    assert (tmp_path / "j").read_bytes().startswith(content)


def test_other_settings_are_refused_by_name(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    path = state / "settings.json"
    check_settings(path, {"model": "a", "seed": 1})
    check_settings(path, {"model": "a", "seed": 1})
    with pytest.raises(UserError, match=r"another seed \(1, now 2\)"):
        check_settings(path, {"model": "a", "seed": 2})
    check_settings(path, {"model": "a", "plug-in x": "c"})
    with pytest.raises(UserError, match="another plug-in x"):
        check_settings(path, {"model": "a", "plug-in x": "d"})
    assert json.loads(path.read_text()) == {"model": "a", "seed": 1, "plug-in x": "c"}
