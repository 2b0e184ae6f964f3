"""Progress as a person sees it: a bar in a terminal, rare lines in a log file, errors on lines of their own."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from attrib_lab.terminal import progress
from attrib_lab.terminal.progress import Progress, say, track
from attrib_lab.training.training_progress import TrainingProgress


ROOT = Path(__file__).resolve().parents[3]


def screen(code: str) -> list[str]:
    """What a terminal of 80 columns shows after Python code has run in it."""
    leader, follower = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    written = b""
    try:
        while part := os.read(leader, 4096):
            written += part
    except OSError:  # the other end is closed
        pass
    process.wait()
    os.close(leader)
    return [_shown(line) for line in written.decode().replace("\r\n", "\n").split("\n")]


def _shown(line: str) -> str:
    cells: list[str] = []
    for part in line.split("\r"):
        cells[: len(part)] = part
    return "".join(cells).rstrip()


def test_a_terminal_shows_lines_above_a_bar_that_goes():
    code = """
from attrib_lab.terminal.progress import Progress, say
with Progress(4, "counting", "things") as bar:
    for number in range(4):
        say(f"line {number}")
        bar.note(f"loss {number}")
        bar.advance()
print("done")
"""
    assert screen(code) == ["line 0", "line 1", "line 2", "line 3", "done", ""]


def test_a_terminal_shows_what_is_done_and_left():
    code = """
import os
from attrib_lab.terminal.progress import Progress
bar = Progress(4, "counting", "things", done=1)
bar.advance()
bar.note("loss 0.5")
os._exit(0)
"""
    (shown,) = screen(code)
    assert shown.startswith("counting  50% |")
    assert "| 2 of 4 things, " in shown
    assert shown.endswith(" left, loss 0.5")
    assert len(shown) < 80


@pytest.mark.parametrize(
    ("raised", "last"), [("UserError('wrong')", "error: wrong"), ("KeyboardInterrupt", "interrupted")]
)
def test_an_error_starts_its_own_line(raised, last):
    code = f"""
from attrib_lab.terminal.errors import UserError, run_command
from attrib_lab.terminal.progress import Progress
def main():
    Progress(4, "counting", "things").advance()
    raise {raised}
run_command(main)
"""
    (shown, end) = screen(code)
    assert shown.startswith(last)
    assert end == ""


def test_a_log_file_gets_a_line_now_and_then(monkeypatch, capsys):
    clock = iter([0.0, *(10.0 * tick for tick in range(1, 100))])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Progress(8, "counting", "things") as bar:
        for _ in range(8):
            bar.note("loss 0.5")
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 3
    assert all(line.startswith("counting: ") and " of 8 things, loss 0.5, " in line for line in lines)
    assert "\r" not in "".join(lines)


def test_short_work_leaves_a_log_file_alone(capsys):
    assert list(track("abc", "counting", "things")) == ["a", "b", "c"]
    assert list(track((x for x in "abc"), "counting", "things")) == ["a", "b", "c"]
    say("a line")
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out == "a line\n"


def test_of_several_processes_one_speaks():
    code = "from attrib_lab.terminal.progress import silence_other_processes as s; s(); print('hello')"
    for rank, expected in ((None, "hello\n"), ("0", "hello\n"), ("1", "")):
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({} if rank is None else {"RANK": rank})
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert (done.stdout, done.stderr) == (expected, "")


def test_an_early_stop_is_said(tmp_path, capsys):
    state = TrainerState(global_step=12, max_steps=16)
    TrainingProgress().on_train_end(TrainingArguments(str(tmp_path), use_cpu=True), state, TrainerControl())
    assert capsys.readouterr().out == "stopped at step 12 of 16: the validation got no better any more\n"


@pytest.mark.parametrize(("checkpoint", "said"), [("out/checkpoint-75", "kept: the model of step 75"), (None, "")])
def test_the_kept_model_is_named_where_a_checkpoint_holds_it(tmp_path, capsys, checkpoint, said):
    """The best evaluation, at step 100 here, may have left no checkpoint."""
    epochs = {"save_strategy": "epoch", "eval_strategy": "epoch"}
    arguments = TrainingArguments(str(tmp_path), load_best_model_at_end=True, use_cpu=True, **epochs)
    state = TrainerState(best_global_step=100, best_model_checkpoint=checkpoint)
    TrainingProgress().on_train_end(arguments, state, TrainerControl())
    assert capsys.readouterr().out.partition(",")[0] == said
