"""Concepts in a classifier: a planted one is found, random ones are not; the command, its files and its mistakes."""

import itertools
import json
import re

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text
from planted import build_model, build_tokenizer, write_sentences

from attrib_lab.commands import build_parser
from attrib_lab.concepts.activations import LayerReader
from attrib_lab.concepts.analysis import ClassEffect, ConceptResult, analyse_concepts
from attrib_lab.concepts.report import draw_effects, effects_figure, format_table
from attrib_lab.concepts.significance import t_test_value
from attrib_lab.terminal.errors import UserError


TEXTS = write_sentences(60, 0.05, seed=10) + write_sentences(60, 0.6, seed=11)
RANDOM = write_sentences(80, 0.1, seed=12)
PLANTED = write_sentences(20, 0.7, seed=13)


def analyse(concepts, random=RANDOM, **options):
    reader = LayerReader(build_model(), build_tokenizer(), 1)
    return analyse_concepts(reader, concepts, random, TEXTS, **{"vectors": 20, "seed": 0} | options)


def test_a_planted_concept_is_found():
    (result,) = analyse({"planted": PLANTED})
    no, yes = result.effects
    assert (no.label, yes.label) == ("no", "yes")
    assert yes.value > 0.95
    assert yes.score > 0
    assert no.value < 0.05
    assert no.score < 0
    assert result.known
    assert result.significant(yes)
    assert result.significant(no)
    assert 0.6 < result.accuracy < 0.85  # seven of ten tokens are the concept's, one of ten elsewhere: 0.8 at best
    assert np.mean(result.random_accuracies) == pytest.approx(0.5, abs=0.05)


@pytest.fixture(scope="module")
def random_results():
    concepts = {f"random {i}": write_sentences(20, 0.1, seed=100 + i) for i in range(12)}
    return analyse(concepts, vectors=12)


def test_random_concepts_are_not(random_results):
    found = [result.significant(effect) for result in random_results for effect in result.effects]
    assert len(found) == 24
    assert sum(found) <= 1  # 5 % of 24 are 1.2
    assert sum(result.known for result in random_results) <= 2


def test_without_the_correction_for_overlap_random_concepts_would_be_found(random_results):
    effects = [effect for result in random_results for effect in result.effects]
    assert sum(t_test_value(np.array(effect.values), 0.5) < 0.05 for effect in effects) >= 8


def test_an_unknown_concept_has_no_significant_effect():
    """Its values may all agree: a direction that means nothing points to some class too."""
    effect = ClassEffect("yes", 0.1, values=(1.0, 1.0), random_values=(0.1, 0.2), p_half=0.0, p_random=0.0)
    chance = tuple(np.linspace(0.4, 0.6, 21))
    unknown, known = (ConceptResult("x", 20, accuracy, chance, (effect,), 0.1) for accuracy in (0.58, 0.595))
    assert (unknown.known, unknown.significant(effect)) == (False, False)  # 0.59 is the 95 % quantile
    assert (known.known, known.significant(effect)) == (True, True)
    assert "| 0.58 (chance) |" in format_table([unknown])
    assert format_table([unknown]).endswith("|  |")
    assert format_table([known]).endswith("| for |")


def test_a_result_depends_on_its_seed_and_not_on_other_concepts():
    alone = analyse({"planted": PLANTED}, vectors=5)[0]
    beside = analyse({"other": write_sentences(15, 0.1, seed=1), "planted": PLANTED}, vectors=5)[1]
    assert [effect.values for effect in alone.effects] == [effect.values for effect in beside.effects]
    assert [effect.p_random for effect in alone.effects] == [effect.p_random for effect in beside.effects]
    assert (alone.accuracy, alone.random_accuracies) == (beside.accuracy, beside.random_accuracies)
    other = analyse({"planted": PLANTED}, vectors=5, seed=1)[0]
    assert [effect.random_values for effect in other.effects] != [effect.random_values for effect in alone.effects]


def test_a_concepts_own_sentences_are_not_random_ones():
    """With 80 random sentences of which 50 are the concept's, 30 are left, and 100 are needed."""
    with pytest.raises(UserError, match="so 100 random ones that are not a concept's are needed; there are 30"):
        analyse({"planted": RANDOM[:50]})


def test_random_concepts_that_share_most_sentences_are_warned_of():
    """Of 80 random sentences, two draws of 2 · 20 share half on average, which passes; of 40 they are the same."""
    (result,) = analyse({"planted": PLANTED}, vectors=2)
    assert (result.random_overlap, result.warning) == (0.5, "")
    (result,) = analyse({"planted": PLANTED}, vectors=2, random=RANDOM[:40])
    assert result.random_overlap == 1.0
    assert "two random concepts share 100% of their sentences" in result.warning
    assert format_table([result]).splitlines()[-1].startswith("planted: two random concepts")


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("name", ["money", "all that has to do with money, banks and $ markets _{$", "Kapitän" * 9])
def test_nothing_in_the_picture_is_cut_off_or_covered(tmp_path, count, name):
    labels = ("cancel", "why was my transfer of yesterday declined, and by whom?", "x" * 40)
    effects = tuple(ClassEffect(label, 0.1, (0.2, 0.3), (0.4, 0.6), 0.01, 0.01) for label in labels)
    results = [ConceptResult(f"{name} {i}", 20, 0.8, (0.4, 0.5), effects, 0.1) for i in range(count)]
    draw_effects(results, tmp_path / "concepts.png")
    ink = plt.imread(tmp_path / "concepts.png")[..., :3].min(axis=2) < 0.9
    assert ink.any()
    assert not ink[[0, -1]].any()  # what is cut off reaches the edge
    assert not ink[:, [0, -1]].any()
    figure = effects_figure(results)
    figure.canvas.draw()
    panels = figure.axes[:count]
    titles = [next(t for t in panel.findobj(Text) if t.get_text() == panel.get_title("left")) for panel in panels]
    boxes = [text.get_window_extent() for text in titles] + [panel.get_window_extent() for panel in panels]
    plt.close(figure)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert min(panel.width for panel in boxes[count:]) > 250  # pixels, of 100 an inch


# The command ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained model's folder beside files of sentences."""
    root = tmp_path_factory.mktemp("concepts")
    build_model().save_pretrained(root / "model")
    build_tokenizer().save_pretrained(root / "model")
    (root / "planted.txt").write_text("\n\n".join(PLANTED) + "\n")
    (root / "random.csv").write_text("\n".join(["text", *RANDOM, RANDOM[0], '""']) + "\n")
    (root / "data.jsonl").write_text("".join(json.dumps({"text": text, "body": text}) + "\n" for text in TEXTS))
    (root / "few.txt").write_text("\n".join([*PLANTED[:9], PLANTED[0]]))
    (root / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    return root


def run(folder, **changes):
    options = {
        "concept": f"planted={folder / 'planted.txt'}",
        "data": str(folder / "data.jsonl"),
        "random": str(folder / "random.csv"),
        "vectors": "10",
        "output": str(folder / "out"),
    } | changes
    command = ["concepts", str(folder / "model")]
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            command += [] if each is None else [f"--{name}={each}"]
    arguments = build_parser().parse_args(command)
    arguments.run(arguments)


def test_the_command_writes_table_figures_and_picture(folder, capsys):
    hostile = f"a|b <i> $x_{{$ ={folder / 'planted.txt'}"
    run(folder, concept=[f"planted={folder / 'planted.txt'}", hostile], vectors="20", output=str(folder / "full"))
    out = folder / "full"
    assert (out / "concepts.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((out / "concepts.json").read_text())
    assert content["settings"] == {"layer": 1, "texts": 120, "random_sentences": 80, "vectors": 20, "seed": 0}
    planted = content["concepts"][0]
    assert (planted["random_overlap"], planted["warning"]) == (0.5, "")
    assert (planted["name"], planted["sentences"]) == ("planted", 20)
    assert [effect["label"] for effect in planted["effects"]] == ["no", "yes"]
    assert [effect["significant"] for effect in planted["effects"]] == [True, True]
    assert len(planted["effects"][0]["random_values"]) == 20
    table = (out / "concepts.md").read_text().splitlines()
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in table] == [10] * 6
    assert table[2].startswith("| planted |")
    assert table[2].endswith("| against |")
    assert table[3].endswith("| for |")
    assert "<i>" not in table[4]
    assert table[2] in capsys.readouterr().out


def test_random_sentences_come_from_the_texts_that_are_not_asked_about(folder):
    run(folder, random=None, limit="50", output=str(folder / "drawn"))
    settings = json.loads((folder / "drawn" / "concepts.json").read_text())["settings"]
    assert (settings["texts"], settings["random_sentences"]) == (50, 70)


def test_the_texts_may_be_the_newswire_as_everywhere(folder):
    run(folder, data="newswire:30", output=str(folder / "newswire"))
    assert json.loads((folder / "newswire" / "concepts.json").read_text())["settings"]["texts"] == 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"concept": "planted"}, "concepts are written name=file"),
        ({"concept": "planted=missing.txt"}, "file 'missing.txt' does not exist"),
        ({"concept": "planted={folder}/few.txt"}, "concept 'planted' has 9 different sentences; 10 at least"),
        ({"concept": "planted={folder}/bytes.txt"}, "bytes.txt is UTF-16, not UTF-8"),
        ({"concept": "planted=some.doc"}, "there is no file 'some.doc', and no such Hub dataset was read"),
        ({"concept": ["a={folder}/planted.txt"] * 2}, "--concept 'a' is given twice"),
        ({"text": "title"}, "has no column 'title'; it has text"),
        ({"layer": "2"}, "--layer 2: this model has layers 0 to 1"),
        ({"layer": "-1"}, "--layer -1: this model has layers 0 to 1"),
        ({"vectors": "1"}, "1 vectors say nothing about their spread"),
        ({"limit": "0"}, "--limit 0"),
        ({"limit": "5"}, "the data has 5 different texts to ask about; 10 at least are needed"),
        ({"random": "{folder}/planted.txt"}, "so 40 random ones that are not a concept's are needed; there are 0"),
        ({"output": "{folder}/planted.txt"}, "is a file: name a folder"),
    ],
)
def test_a_mistake_is_named(folder, changes, message):
    def place(value):
        return [place(each) for each in value] if isinstance(value, list) else value.format(folder=folder)

    with pytest.raises(UserError) as error:
        run(folder, **{name: place(value) for name, value in changes.items()})
    assert message in str(error.value)
    assert "\n" not in str(error.value)
