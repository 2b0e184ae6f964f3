"""Every snippet of the documentation runs; what cannot run here says why, and is read by its own parser."""

import importlib.util
import re

import pytest
from code_blocks import FENCE, LANGUAGES, ROOT, command_lines, compiled, parse_command, read_blocks, run_command
from test_layering import ROOMS

from attrib_lab.evaluation.metrics import METRICS
from attrib_lab.evaluation.options import DEFAULT_METRICS
from attrib_lab.exporting.formats import FORMATS, PRECISIONS
from modeling_attrib import AttribConfig, list_attribution_methods


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks/README.md",
]
BLOCKS = [block for page in PAGES for block in read_blocks(page)]
METHOD_COLUMNS = ["method", "cost", "signed", "adds up", "source"]


def named(block):
    return f"{block.page.relative_to(ROOT)}:{block.line}"


def pages_with(kind):
    return list(dict.fromkeys(block.page for block in BLOCKS if block.kind == kind))


def run_blocks(blocks):
    """Blocks of a page, one after the other: its Python is one program. The names that it leaves."""
    names = {}
    for block in blocks:
        if block.language == "python":
            exec(compiled(block), names)
        else:
            for words in command_lines(block):
                run_command(words)
    return names


@pytest.mark.parametrize("page", pages_with(""), ids=lambda page: page.name)
def test_a_pages_snippets_run(page, here):
    run_blocks(block for block in BLOCKS if block.page == page and block.kind == "")


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("slow"), ids=lambda page: page.name)
def test_a_pages_slow_snippets_run(page, here):
    run_blocks(block for block in BLOCKS if block.page == page and block.kind in ("", "slow"))


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "needs"], ids=named)
def test_a_snippet_of_another_library_runs_where_it_is_installed(block, here):
    if importlib.util.find_spec(block.said) is None:
        compiled(block)
        pytest.skip(f"{block.said} is not installed; the snippet was only compiled")
    above = [other for other in BLOCKS if other.page == block.page and other.kind == "" and other.line < block.line]
    names = run_blocks([*above, block])
    assert "scores" in names or "explanation" in names


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "bash"], ids=named)
def test_a_command_is_one_that_its_parser_reads(block):
    lines = command_lines(block)
    assert lines
    for words in lines:
        parse_command(words)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "not run"], ids=named)
def test_a_block_that_is_not_run_is_no_python(block):
    """Python here needs no network and no training, so that nothing excuses it."""
    assert block.language == "bash"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_marker_stands_before_a_block_and_is_understood(page):
    markers = re.findall(r"^<!--", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(markers) == sum(bool(block.kind) for block in read_blocks(page))
    assert {match[1] for match in FENCE.finditer(page.read_text(encoding="utf-8"))} <= {*LANGUAGES, ""}


# Tables and names, against what they describe -----------------------------------------------------------------------


def table_of(page, header):
    """Cells of the table that begins with these columns."""
    rows = (ROOT / page).read_text(encoding="utf-8").split(f"| {' | '.join(header)} |\n", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()[1:]]


def test_the_table_of_methods_is_the_registry():
    rows = table_of("docs/methods.md", METHOD_COLUMNS)
    default = AttribConfig().attribution_method
    registered = [
        (
            f"`{method['name']}`" + " (default)" * (method["name"] == default),
            str(method["cost"]),
            "yes" if method["signed"] else "no",
            "yes" if method["conservative"] else "no",
        )
        for method in list_attribution_methods()
    ]
    assert sorted(tuple(row[:-1]) for row in rows) == sorted(registered)


def test_the_source_of_a_method_is_the_registrys():
    sources = {re.match(r"`(\w+)`", row[0])[1]: row[-1] for row in table_of("docs/methods.md", METHOD_COLUMNS)}
    for method in list_attribution_methods():
        if not method["paper"].startswith("baseline"):
            first = re.match(r"this project|Eggen et al\.|.*? \d{4}", method["paper"])[0]
            assert sources[method["name"]].startswith(first), method["name"]


def test_the_table_of_metrics_is_what_evaluate_offers():
    rows = table_of("docs/evaluation.md", ["metric", "better", "asks"])
    said = {}
    for names, better, _ in rows:
        names, better = re.findall(r"`(\w+)`", names), better.split(", ")
        said |= dict(zip(names, better if len(better) == len(names) else better * len(names)))
    assert said == {metric.name: "higher" if metric.higher_is_better else "lower" for metric in METRICS.values()}
    assert set(DEFAULT_METRICS) <= said.keys()


def test_the_table_of_formats_is_what_export_offers():
    rows = table_of("docs/export.md", ["`--format`", "what it writes", "`--precision`"])
    said = {name.strip("`"): tuple(re.findall(r"`(\w+)`", precisions)) for name, _, precisions in rows}
    assert said == PRECISIONS
    assert said.keys() == FORMATS.keys()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "examples/browser/README.md"], ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"(?:\]\(|src=\")([^)\s\"]+)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_ours_that_is_named_exists(page):
    ours = {path.name for path in ROOT.rglob("*.py") if not any(part.startswith(".venv") for part in path.parts)}
    named_files = re.findall(r"`(?:[\w/]*/)?(\w+\.py)`", page.read_text(encoding="utf-8"))
    assert set(named_files) <= ours


def test_rooms_of_the_house_are_those_that_there_are_in_their_order():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paragraph = text[text.index("In `attrib_lab/` each folder") :].partition("\n\n")[0]
    rooms = re.findall(r"`(\w+)/`", paragraph)[1:]
    assert rooms == [room for room in ROOMS if (ROOT / "attrib_lab" / room).is_dir()]


def test_the_readme_is_read_in_minutes():
    assert 100 <= len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def test_the_first_screen_is_the_demo():
    """The README's first commands are those that continuous integration runs on a fresh clone."""
    first = next(block for block in BLOCKS if block.page.name == "README.md")
    assert [words[:2] for words in command_lines(first)] == [["make", "demo"], ["make", "test"]]
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"^make demo\b.*\nmake test\b", run, re.MULTILINE)
