"""Arguments of the commands: old names."""

from attrib_lab.terminal.arguments import CommandParser, RenamedOption


def test_an_old_name_does_what_the_new_one_does_and_says_so(capsys):
    parser = CommandParser(prog="attrib")
    parser.add_argument("--perturbation", default="mask")
    parser.add_argument("--removal", dest="perturbation", action=RenamedOption, metavar="--perturbation")
    assert parser.parse_args(["--removal", "delete"]).perturbation == "delete"
    assert "--removal is called --perturbation now" in capsys.readouterr().err
    assert parser.parse_args([]).perturbation == "mask"
    assert capsys.readouterr().err == ""
