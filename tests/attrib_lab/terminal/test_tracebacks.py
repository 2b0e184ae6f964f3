"""A user's own frames of a traceback: none of ours, none of a library's, unless his code is one."""

import functools
import importlib
import json
import sys

import pytest

from attrib_lab.data.sources import load_rows
from attrib_lab.evaluation.explainers import select_explainers
from attrib_lab.terminal import tracebacks
from attrib_lab.terminal.errors import UserError
from attrib_lab.terminal.tracebacks import user_frames


HIS = """
import json
from attrib_lab.data.sources import load_rows
def through(): return load_rows("x.csv", "train", 0)
def read(): return json.loads("{")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Import a module written for the test; what it registers is forgotten afterwards."""

    def load(source: str, name: str = "his_module"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return load


def raised(call) -> BaseException:
    """What `call` raises, without this function's own frame."""
    try:
        call()
    except Exception as error:
        return error.with_traceback(error.__traceback__.tb_next)
    raise AssertionError("it raises nothing")


def test_frames_of_libraries_and_of_ours_are_left_out(module):
    his = module(HIS)
    lines = user_frames(raised(his.read), his.__file__).splitlines()
    assert lines[0] == f'  File "{his.__file__}", line 5, in read'
    assert sum(line.startswith("  File") for line in lines) == 1
    assert lines[-1].startswith("json.decoder.JSONDecodeError: ")
    (frame,) = (line for line in user_frames(raised(his.through), his.__file__).splitlines() if "  File" in line)
    assert frame.endswith("line 4, in through")


def test_an_installed_package_is_his_where_he_named_it(module, monkeypatch, tmp_path):
    his = module("def explain(): raise ValueError('bad')\n")
    error = raised(his.explain)
    monkeypatch.setattr(tracebacks, "_LIBRARIES", (tmp_path.parent,))
    assert user_frames(error) == ""
    assert user_frames(error, his.__file__).count("  File") == 1
    # A module that lies in the library's own folder does not make all others there his.
    monkeypatch.setattr(tracebacks, "_LIBRARIES", (tmp_path,))
    assert user_frames(error, his.__file__).count("  File") == 1
    assert user_frames(error, str(tmp_path / "another.py")) == ""


def test_nothing_of_his_is_nothing_to_show():
    assert user_frames(raised(functools.partial(json.loads, "{"))) == ""
    assert user_frames(raised(functools.partial(load_rows, "x.csv", "train", 0))) == ""


def test_control_characters_stay_out_of_the_terminal(module):
    his = module("def explain(): raise ValueError('a\\x1b[2Jb')\n")
    assert "\x1b" not in user_frames(raised(his.explain), his.__file__)


@pytest.mark.parametrize(
    ("source", "place", "last"),
    [
        ("x = 1\ny = undefined\n", "line 2, in <module>", "NameError: name 'undefined' is not defined"),
        ("x = 1\ndef explain(model, batch)\n    return 1\n", "line 2", "SyntaxError: expected ':'"),
    ],
)
def test_where_a_plug_in_cannot_be_imported_is_shown(tmp_path, monkeypatch, source, place, last):
    (tmp_path / "broken_plug_in.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    classifier = object.__new__(type("Stock", (), {"model": None, "explains": True}))
    with pytest.raises(UserError, match="broken_plug_in cannot be imported") as error:
        select_explainers("broken_plug_in:explain", classifier)
    assert f'File "{tmp_path / "broken_plug_in.py"}", {place}' in error.value.frames
    assert error.value.frames.splitlines()[-1] == last
    assert "attrib_lab" not in error.value.frames
