"""Samples: rows drawn, labels numbered as the model numbers them, and every row left out counted aloud."""

import json

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from attrib_lab.evaluation import samples
from attrib_lab.evaluation.classifiers import load_classifier
from attrib_lab.evaluation.samples import Columns, load_sample
from attrib_lab.terminal.errors import UserError


@pytest.fixture(scope="module")
def classifier(classifier_folder):
    return load_classifier(classifier_folder)  # sports 0, business 1


def write(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def load(path, classifier, columns=None, **options):
    return load_sample(path, "test", columns or Columns(), classifier, **options)


def labels_of(sample):
    return [text.label for text in sample.texts]


def test_labels_by_name_and_number(tmp_path, classifier):
    rows = [{"text": "goal", "label": "business"}, {"text": "bank", "label": "sports"}]
    assert labels_of(load(write(tmp_path, rows), classifier)) == [1, 0]
    rows = [{"text": "goal", "label": 1}, {"text": "bank", "label": None}, {"text": "coach", "label": 0}]
    sample = load(write(tmp_path, rows), classifier)
    assert labels_of(sample) == [1, None, 0]
    assert sample.notes == ["1 of 3 texts have no label."]


def test_numbers_that_are_the_models_names_are_names(tmp_path, classifier, monkeypatch):
    """Of a model with the labels 1 and 2, the number 1 is the first label, and no index."""
    rows = [{"text": "goal", "label": 1}, {"text": "bank", "label": 2}]
    monkeypatch.setattr(type(classifier), "labels", ["1", "2"], raising=False)
    assert labels_of(load(write(tmp_path, rows), classifier)) == [0, 1]


def test_names_of_the_data_in_the_models_order(tmp_path, classifier):
    rows = [{"text": "goal", "topic": "b"}, {"text": "bank", "topic": "s"}]
    columns = Columns(label="topic", labels=("s", "b"))
    assert labels_of(load(write(tmp_path, rows), classifier, columns)) == [1, 0]


def test_classes_that_the_data_orders_otherwise(monkeypatch, classifier):
    features = Features(text=Value("string"), label=ClassLabel(names=["business", "sports"]))
    rows = Dataset.from_dict({"text": ["goal", "bank"], "label": [0, 1]}, features=features)
    monkeypatch.setattr(samples, "load_rows", lambda *arguments: rows)
    assert labels_of(load("owner/name", classifier)) == [1, 0]


def test_without_labels(tmp_path, classifier):
    sample = load(write(tmp_path, [{"text": "goal"}]), classifier)
    assert labels_of(sample) == [None]
    assert sample.notes == []
    strange = write(tmp_path, [{"text": "goal", "label": "of another task"}])
    assert labels_of(load(strange, classifier, Columns(label="none"))) == [None]


def test_the_draw_is_seeded_and_keys_name_rows(tmp_path, classifier):
    words = ["goal", "match", "striker", "coach", "league", "stocks", "profit", "merger", "bank", "shares"]
    path = write(tmp_path, [{"text": word} for word in words])
    whole = {text.key: text for text in load(path, classifier).texts}
    assert [int(key.split("-")[0]) for key in whole] == list(range(10))
    drawn = [text.key for text in load(path, classifier, limit=4, seed=1).texts]
    assert len(set(drawn)) == 4
    assert set(drawn) <= set(whole)
    assert [int(key.split("-")[0]) for key in drawn] == sorted(int(key.split("-")[0]) for key in drawn)
    assert drawn == [text.key for text in load(path, classifier, limit=4, seed=1).texts]
    assert drawn != [text.key for text in load(path, classifier, limit=4, seed=2).texts]
    assert len(load(path, classifier, limit=100).texts) == 10


def test_what_is_left_out_is_counted(tmp_path, classifier):
    rows = [
        {"text": "goal bank", "marks": [[0, 4]]},
        {"text": None, "marks": None},
        {"text": " ".join(["goal"] * 100), "marks": None},
        {"text": "", "marks": []},
    ]
    sample = load(write(tmp_path, rows), classifier, Columns(rationale="marks"))
    assert sample.notes == [
        "2 of 4 rows have no text and are left out.",
        "1 of 2 texts are longer than what is read of them.",
        "1 of 2 texts have no rationale.",
    ]
    assert [len(text.ids) for text in sample.texts] == [4, 64]
    assert [text.key.split("-")[0] for text in sample.texts] == ["0", "2"]
    assert sample.texts[0].rationale == (False, True, False, False)
    assert [len(text.ids) for text in load(write(tmp_path, rows), classifier, max_length=10).texts] == [4, 10]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (Columns(text="txt"), {}, "no column 'txt'; it has text, label. Did you mean 'text'"),
        (Columns(label="lable"), {}, "no column 'lable'.* Did you mean 'label'"),
        (Columns(rationale="marks"), {}, "no column 'marks'"),
        (Columns(labels=("a", "b", "c")), {}, "names 3 labels; the model has 2: sports, business"),
        (Columns(labels=("a", "b")), {}, "row 1: the label 'busines' is none of a, b. --labels"),
        (Columns(), {}, "'busines' is none of sports, business.* Did you mean 'business'"),
        (Columns(), {"max_length": 65}, "reads 1 to 64 tokens"),
        (Columns(), {"max_length": 0}, "reads 1 to 64 tokens"),
    ],
)
def test_what_does_not_fit(tmp_path, classifier, columns, options, message):
    with pytest.raises(UserError, match=message):
        load(write(tmp_path, [{"text": "goal", "label": "busines"}]), classifier, columns, **options)


def test_no_text_at_all(tmp_path, classifier):
    with pytest.raises(UserError, match="the column 'text' is empty"):
        load(write(tmp_path, [{"text": None, "label": 1}, {"text": None, "label": 0}]), classifier)
