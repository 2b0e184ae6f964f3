"""Data from files and the demo: one shape, nothing lost without a word."""

import json

import pytest
from datasets import Dataset

from attrib_lab.data.sources import load_splits
from attrib_lab.recipes.recipe import DataSection
from attrib_lab.terminal.errors import UserError


ROWS = [
    {"text": "oil falls", "label": "business"},
    {"text": "goal scored", "label": "sports"},
    {"text": "stocks rise", "label": "business"},
    {"text": "match lost", "label": "sports"},
    {"text": "bank fined", "label": "business"},
]


def write(tmp_path, rows, kind="jsonl", name="train"):
    path = tmp_path / f"{name}.{kind}"
    if kind == "csv":
        Dataset.from_list(rows).to_csv(path)
    elif kind == "parquet":
        Dataset.from_list(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_string_labels_become_indices(tmp_path, kind):
    splits = load_splits(DataSection(train=write(tmp_path, ROWS, kind), validation_fraction=0.2), seed=0)
    assert splits.labels == ["business", "sports"]
    rows = [row for split in (splits.train, splits.validation) for row in split]
    assert sorted((row["text"], splits.labels[row["label"]]) for row in rows) == sorted(
        (row["text"], row["label"]) for row in ROWS
    )


def test_given_label_names_fix_the_order(tmp_path):
    section = DataSection(train=write(tmp_path, ROWS), validation_fraction=0.2, labels=["sports", "business"])
    assert load_splits(section, seed=0).labels == ["sports", "business"]


def test_integer_labels_keep_their_index(tmp_path):
    rows = [{"text": f"t{i}", "label": i % 3} for i in range(9)]
    splits = load_splits(DataSection(train=write(tmp_path, rows), validation_fraction=0.2), seed=0)
    assert splits.labels == ["0", "1", "2"]
    assert {row["text"]: row["label"] for row in splits.train}.items() <= {f"t{i}": i % 3 for i in range(9)}.items()


def test_rows_without_text_or_label_are_counted_aloud(tmp_path, capsys):
    rows = [*ROWS, {"text": None, "label": "sports"}, {"text": "orphan", "label": None}]
    splits = load_splits(DataSection(train=write(tmp_path, rows), validation_fraction=0.2), seed=0)
    assert len(splits.train) + len(splits.validation) == 5
    assert "2 of 7 rows have no text or no label" in capsys.readouterr().out


def test_training_rows_that_occur_in_the_test_are_dropped(tmp_path, capsys):
    test = [{"text": "oil falls", "label": "business"}, {"text": "cup won", "label": "sports"}]
    section = DataSection(train=write(tmp_path, ROWS), test=write(tmp_path, test, name="test"), decontaminate=["text"])
    splits = load_splits(section, seed=0)
    assert "oil falls" not in splits.train["text"]
    assert "oil falls" not in splits.validation["text"]
    assert len(splits.train) + len(splits.validation) == 4
    assert "1 rows occur in the test data" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_lists_of_words_become_texts(tmp_path, kind):
    rows = [row | {"words": row["text"].split()} for row in ROWS]
    test = [{"words": ["oil", "falls"], "label": "business"}, {"words": ["cup", "won"], "label": "sports"}]
    files = {"train": write(tmp_path, rows, kind), "test": write(tmp_path, test, kind, "test")}
    splits = load_splits(DataSection(**files, text="words", decontaminate=["words"]), seed=0)
    assert splits.test["words"] == ["oil falls", "cup won"]
    texts = [*splits.train["words"], *splits.validation["words"]]
    assert sorted(texts) == sorted(row["text"] for row in ROWS[1:])  # the first occurs in the test data


def test_the_same_text_with_other_punctuation_is_dropped_too(tmp_path):
    train = [{"text": text, "label": "a"} for text in ("Cool", "cool it", "...", "?")] + ROWS
    test = [{"text": "cool ?", "label": "sports"}, {"text": "...", "label": "sports"}]
    labels = ["a", "business", "sports"]
    files = {"train": write(tmp_path, train), "test": write(tmp_path, test, name="test")}
    splits = load_splits(DataSection(**files, labels=labels, decontaminate=["text"]), seed=0)
    kept = [*splits.train["text"], *splits.validation["text"]]
    assert sorted(kept) == sorted(["cool it", "?"] + [row["text"] for row in ROWS])


def test_the_demo_splits_differ():
    splits = load_splits(DataSection(train="newswire:40", test="newswire:40"), seed=0)
    assert not set(splits.train["text"]) & set(splits.test["text"])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"train": "nowhere.csv"}, "'nowhere.csv' does not exist"),
        ({"train": "newswire:many"}, "newswire:COUNT"),
        ({"train": "not a source!"}, "neither a file"),
        ({"text": "txt"}, "no column 'txt'; it has text, label. Did you mean 'text'"),
        ({"label": "topic"}, "no column 'topic'"),
        ({"labels": ["business", "weather"]}, "train, row 2: the label 'sports' is none of business, weather"),
        ({"decontaminate": ["title"]}, "no column 'title'"),
    ],
)
def test_a_mistake_is_named(tmp_path, section, message):
    with pytest.raises(UserError, match=message):
        load_splits(DataSection(**{"train": write(tmp_path, ROWS)} | section), seed=0)


def test_an_unreadable_file_is_named(tmp_path):
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"broken\.parquet could not be read"):
        load_splits(DataSection(train=str(path)), seed=0)


def test_one_label_is_not_enough(tmp_path):
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "x"}]
    with pytest.raises(UserError, match="needs two at least"):
        load_splits(DataSection(train=write(tmp_path, rows)), seed=0)
