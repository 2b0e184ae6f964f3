"""Arguments of the commands: old names."""

import pytest

from attrib_lab.terminal.arguments import CommandParser, RenamedOption
from attrib_lab.terminal.errors import nearest


def test_an_old_name_does_what_the_new_one_does_and_says_so(capsys):
    parser = CommandParser(prog="attrib")
    parser.add_argument("--perturbation", default="mask")
    parser.add_argument("--removal", dest="perturbation", action=RenamedOption, metavar="--perturbation")
    assert parser.parse_args(["--removal", "delete"]).perturbation == "delete"
    assert "--removal is called --perturbation now" in capsys.readouterr().err
    assert parser.parse_args([]).perturbation == "mask"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("word", "nearest_word"),
    [("epoch", "num_train_epochs"), ("lerning_rate", "learning_rate"), ("zzz", None)],
)
def test_the_nearest_word_is_named_by_its_parts_too(word, nearest_word):
    expected = f" Did you mean {nearest_word!r}?" if nearest_word else ""
    assert nearest(word, ["project", "num_train_epochs", "learning_rate"]) == expected
