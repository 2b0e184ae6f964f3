"""Files as people have them: every cell as it is written, every mistake in one line that says where."""

import json

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from pyarrow import parquet

from attrib_lab.data.labels import encode_labels
from attrib_lab.data.sources import load_splits, load_texts
from attrib_lab.recipes.recipe import DataSection
from attrib_lab.terminal.errors import UserError


WORDS = ["None", "NA", "null", "nan", "N/A", "NaN", "#N/A", "true", "1e5", "007"]


def save(tmp_path, content, name="mine.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def save_lines(tmp_path, rows, name="mine.jsonl"):
    return save(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), name)


def read(source, **section):
    """What training reads of a file, as (text, name of the label) in the order of texts."""
    splits = load_splits(DataSection(**{"train": source, "validation_fraction": 0.2} | section), seed=0)
    text = section.get("text", "text")
    label = section.get("label", "label")
    rows = [row for split in (splits.train, splits.validation) for row in split]
    return sorted((row[text], splits.labels[row[label]]) for row in rows)


def mistake(source, **section):
    with pytest.raises(UserError) as error:
        read(source, **section)
    assert "\n" not in str(error.value)
    return str(error.value)


# Cells ------------------------------------------------------------------------------------------------------


def test_words_that_look_like_nothing_are_words(tmp_path, capsys):
    """A chat bot's label `None` and the text "NA" are what somebody wrote."""
    texts = save(tmp_path, "text,label\n" + "".join(f"{word},{'xy'[i % 2]}\n" for i, word in enumerate(WORDS)))
    assert [text for text, _ in read(texts)] == sorted(WORDS)
    labels = save(tmp_path, "text,label\n" + "".join(f"t{i},{word}\nu{i},{word}\n" for i, word in enumerate(WORDS)))
    assert {label for _, label in read(labels)} == set(WORDS)
    assert "left out" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.json", "mine.parquet"])
def test_null_is_missing_and_the_word_null_is_not(tmp_path, capsys, name):
    rows = [{"text": "null", "label": "a"}, {"text": None, "label": "a"}, {"text": "NA", "label": "None"}]
    rows += [{"text": "x", "label": None}, {"text": "y", "label": "None"}]
    if name == "mine.parquet":
        source = str(tmp_path / name)
        Dataset.from_list(rows).to_parquet(source)
    elif name == "mine.json":
        source = save(tmp_path, json.dumps(rows, indent=1), name)
    else:
        source = save_lines(tmp_path, rows, name)
    assert read(source) == [("NA", "None"), ("null", "a"), ("y", "None")]
    assert "2 of 5 rows have no text or no label and are left out (row " in capsys.readouterr().out


def test_a_hub_data_set_of_csv_files_keeps_its_words(tmp_path, monkeypatch):
    """`datasets` reads a folder owner/name like a repository of the Hub."""
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "owner" / "name" / "train.csv").write_text("text,label\nNA,None\nnull,a\n,a\nx,None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    assert read("owner/name@train") == [("NA", "None"), ("null", "a"), ("x", "None")]


def test_only_empty_fields_are_missing(tmp_path, capsys):
    source = save(tmp_path, 'text,label\na,x\n,x\n"",x\n   ,x\nb,\nc,y\nd, \n0,y\n')
    assert read(source) == [("0", "y"), ("a", "x"), ("c", "y")]
    assert "5 of 8 rows have no text or no label and are left out" in capsys.readouterr().out


def test_spaces_around_a_label_are_ignored_aloud(tmp_path, capsys):
    source = save(tmp_path, "text,label\na,login \nb,login\nc,\u00a0logout\nd,logout\n")
    assert read(source) == [("a", "login"), ("b", "login"), ("c", "logout"), ("d", "logout")]
    assert "train: spaces around 2 labels are ignored: 'login ' is 'login'." in capsys.readouterr().out


def test_quotes_newlines_accents_and_emoji(tmp_path):
    text = 'Er sagte: "Grüß Gott",\r\n  dann — 🙂\u2028nichts'
    quoted = '"' + text.replace('"', '""') + '"'
    source = save(tmp_path, f"label,text\r\na,{quoted}\r\nb,5\" disk\r\n\r\nb,l'été\r\n")
    assert read(source) == [('5" disk', "b"), (text, "a"), ("l'été", "b")]


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_spreadsheet_of_another_country(tmp_path, capsys, separator, name):
    rows = [["text", "label", ""], ["1,5 kg, bitte", "a", ""], ["nein", "b", ""], ["doch", "b", ""]]
    source = save(tmp_path, "\ufeff" + "".join(separator.join(row) + "\r\n" for row in rows))
    assert read(source) == [("1,5 kg, bitte", "a"), ("doch", "b"), ("nein", "b")]
    assert f"mine.csv: columns are separated by {name}." in capsys.readouterr().out


def test_a_text_with_semicolons_is_one_field(tmp_path, capsys):
    assert read(save(tmp_path, "text,label\na;b;c,x\nd;e,y\nf,y\n"))[0] == ("a;b;c", "x")
    assert "separated" not in capsys.readouterr().out


def test_tabs_in_a_tsv(tmp_path):
    assert read(save(tmp_path, "text\tlabel\na, b\tx\nc\ty\nd\ty\n", "mine.tsv"))[0] == ("a, b", "x")


def test_spaces_behind_the_commas(tmp_path):
    source = save(tmp_path, 'label, text\nx, "a, b"\ny, c\ny, d\n')
    assert read(source) == [("a, b", "x"), ("c", "y"), ("d", "y")]


def test_a_field_longer_than_the_csv_module_likes(tmp_path):
    long = "word " * 40_000
    assert read(save(tmp_path, f"text,label\n{long},x\nb,y\nc,y\n"))[2] == (long, "x")


def test_numbers_are_texts(tmp_path, capsys):
    rows = [{"text": 2012, "label": "film"}, {"text": "Up", "label": "film"}, {"text": 7.5, "label": "mark"}]
    assert read(save_lines(tmp_path, rows)) == [("2012", "film"), ("7.5", "mark"), ("Up", "film")]
    assert "number" not in capsys.readouterr().out
    source = str(tmp_path / "mine.parquet")
    Dataset.from_dict({"id": [12, None, 30, 45], "label": ["a", "a", "b", "b"]}).to_parquet(source)
    assert read(source, text="id") == [("12", "a"), ("30", "b"), ("45", "b")]
    assert "every text in the column 'id' is a number: is it the right column?" in capsys.readouterr().out
    assert read(save(tmp_path, "id,label\n12,a\n30,b\n45,b\n"), text="id")[0] == ("12", "a")
    assert "every text in the column 'id' is a number" in capsys.readouterr().out


def test_half_an_emoji_becomes_the_replacement_character(tmp_path):
    rows = [{"text": "cut \ud83d", "label": "a"}, {"text": "b", "label": "b"}, {"text": "c", "label": "b"}]
    source = save_lines(tmp_path, rows)
    assert read(source)[-1] == ("cut \ufffd", "a")


def test_categories_of_pandas_in_parquet(tmp_path):
    labels = pa.array(["b", "a", "b"]).dictionary_encode()
    parquet.write_table(pa.table({"text": ["x", "y", "z"], "label": labels}), tmp_path / "mine.parquet")
    assert read(str(tmp_path / "mine.parquet")) == [("x", "b"), ("y", "a"), ("z", "b")]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(1), pa.dictionary(pa.int8(), pa.binary())])
@pytest.mark.parametrize("column", ["text", "label"])
def test_bytes_in_parquet(tmp_path, column, kind):
    columns = {"text": ["a", "b", "c", "d"], "label": ["x", "y", "x", "y"]}
    values = pa.array([value.encode() for value in columns[column]])
    cast = values.dictionary_encode() if pa.types.is_dictionary(kind) else values.cast(kind)
    parquet.write_table(pa.table(columns | {column: cast}), tmp_path / "mine.parquet")
    message = mistake(str(tmp_path / "mine.parquet"))
    assert f"mine.parquet: the column {column!r} holds bytes, not texts" in message


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (pa.list_(pa.binary()), [[b"a"]] * 4, "the column 'text' holds bytes"),
        (pa.map_(pa.string(), pa.int64()), [[("a", 1)]] * 4, "the column 'text' holds values of the type map"),
    ],
)
def test_other_types_of_parquet(tmp_path, kind, values, said):
    parquet.write_table(pa.table({"text": pa.array(values, kind), "label": [1, 2, 1, 2]}), tmp_path / "mine.parquet")
    assert said in mistake(str(tmp_path / "mine.parquet"))


def test_bytes_of_a_data_set(tmp_path, monkeypatch):
    """`datasets` reads a folder owner/name like a repository of the Hub."""
    (tmp_path / "owner" / "name").mkdir(parents=True)
    parquet.write_table(pa.table({"text": ["a", "b"], "label": [b"x", b"y"]}), tmp_path / "owner/name/train.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    assert "owner/name@train: the column 'label' holds bytes" in mistake("owner/name@train")


@pytest.mark.parametrize("values", [["p", "q", "r", "s"], [0.5, 1.0, 2.0, 3.0], [[1], [2], [3], [4]]])
def test_a_column_labels_beside_the_label(tmp_path, values):
    rows = [{"text": f"t{i}", "label": "ab"[i % 2], "labels": value} for i, value in enumerate(values)]
    splits = load_splits(DataSection(train=save_lines(tmp_path, rows)), seed=0)
    assert set(splits.train.column_names) == {"text", "label"}


def test_odd_columns_that_nobody_asked_for(tmp_path):
    notes = [{"a": 1}, {"a": "x"}, [1, "b"], 3]
    rows = [{"text": f"t{i}", "label": "ab"[i % 2], "meta": note} for i, note in enumerate(notes)]
    assert len(read(save_lines(tmp_path, rows))) == 4


def test_texts_to_measure_a_reduced_precision_on(tmp_path):
    """As everywhere: a missing text is not the word None."""
    rows = [{"text": None}, {"text": "NA"}, {"text": " "}, {"text": ["two", "words"]}, {"text": 7}, {"text": "last"}]
    source = save_lines(tmp_path, rows[:3] + rows[4:])
    assert load_texts(source, limit=2) == ["NA", "7"]
    assert load_texts(save_lines(tmp_path, rows[3:4])) == ["two words"]
    assert len(load_texts("newswire:5")) == 5
    with pytest.raises(UserError, match="has no column 'body'; it has text"):
        load_texts(source, "body")
    with pytest.raises(UserError, match="--limit 0"):
        load_texts(source, limit=0)


def test_line_ends_of_old_machines(tmp_path):
    assert read(save(tmp_path, "text,label\ra,x\rb,y\rc,y\r")) == [("a", "x"), ("b", "y"), ("c", "y")]


# Labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
def test_numbers_as_labels_are_in_the_order_of_numbers(tmp_path, name):
    numbers = [10, 9, 2, 10, 9, 2]
    if name == "mine.csv":
        source = save(tmp_path, "text,label\n" + "".join(f"t{i},{n}\n" for i, n in enumerate(numbers)), name)
    else:
        source = save_lines(tmp_path, [{"text": f"t{i}", "label": str(n)} for i, n in enumerate(numbers)], name)
    splits = load_splits(DataSection(train=source), seed=0)
    assert splits.labels == ["2", "9", "10"]
    assert read(source)[0] == ("t0", "10")


def test_whole_numbers_that_pandas_wrote_beside_an_empty_cell(tmp_path):
    train = save(tmp_path, "text,label\na,1.0\nb,0.0\nc,\nd,1.0\ne,0.0\n")
    test = save(tmp_path, "text,label\na,1\nb,0\n", "test.csv")
    splits = load_splits(DataSection(train=train, test=test), seed=0)
    assert splits.labels == ["0", "1"]
    assert splits.test["label"] == [1, 0]


def test_numbers_of_two_spellings_are_one_label_aloud(tmp_path, capsys):
    source = save(tmp_path, "text,label\na,1\nb,1.0\nc, 1\nd,0\ne,0.0\nf,1.0\n")
    assert [label for _, label in read(source)] == ["1", "1", "1", "0", "0", "1"]
    assert "train: 3 labels are read as whole numbers: '1.0' is '1'." in capsys.readouterr().out
    read(save(tmp_path, "text,label\na,1\nb,0\nc,1\nd,0\n"))
    assert "whole numbers" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["1", "1.0", "spam"], "train: the labels '1' and '1.0' differ in spelling alone and are classes of their own"),
        (["Login", "login", "logout"], "the labels 'Login' and 'login' differ"),
        (["7", "007", "0.5", ".5"], "the labels '007' and '7' differ in spelling alone and"),
        (["no spam", "nospam", "No  spam", "x", "X"], "'No  spam' and 'no spam' and 'nospam' differ in spelling alone"),
        (["caf\u00e9", "cafe\u0301"], "differ in spelling alone"),
    ],
)
def test_labels_that_differ_in_spelling_alone_stay_two_aloud(tmp_path, capsys, labels, said):
    source = save(tmp_path, "text,label\n" + "".join(f"t{i},{label}\n" for i, label in enumerate(labels * 2)))
    assert {label for _, label in read(source)} == set(labels)
    assert capsys.readouterr().out.count(said) == 1


def test_a_label_of_one_row_is_named_with_what_may_be_meant(tmp_path, capsys):
    source = save(tmp_path, "text,label\n" + "".join(f"t{i},{x}\n" for i, x in enumerate(["delivery", "billing"] * 3)))
    read(source)
    assert "one row alone" not in capsys.readouterr().out
    source = save(tmp_path, "text,label\na,delivery\nb,delivery\nc,billing\nd,billing\ne,delivry\n")
    read(source)
    assert "train: one row alone has the label 'delivry'. Did you mean 'delivery'?" in capsys.readouterr().out


def test_labels_that_differ_in_more_than_spelling_are_not_named(tmp_path, capsys):
    labels = ["C", "C++", "C#", "1e5", "100000", "nan", "NaN.", "-1", "1", "1.5"]
    source = save(tmp_path, "text,label\n" + "".join(f"t{i},{label}\n" for i, label in enumerate(labels * 2)))
    assert {label for _, label in read(source)} == set(labels)
    assert "spelling" not in capsys.readouterr().out


def test_leading_zeros_and_versions_are_words(tmp_path):
    source = save(tmp_path, "text,label\na,007\nb,7\nc,1.0\nd,1.10\ne,007\nf,7\ng,1.0\nh,1.10\n")
    assert {label for _, label in read(source)} == {"007", "7", "1.0", "1.10"}


def test_numbers_stand_for_the_recipes_names(tmp_path):
    source = save(tmp_path, "text,label\na,1\nb,0\nc,1\nd,0\n")
    assert read(source, labels=["World", "Sports"])[:2] == [("a", "Sports"), ("b", "World")]
    source = save(tmp_path, "text,label\na,1\nb,2\nc,1\nd,2\n")
    message = mistake(source, labels=["World", "Sports"])
    assert "row 2: the label '2' is none of World, Sports (numbers count from 0)" in message


def test_classes_of_the_test_data_are_read_by_their_names(tmp_path):
    train = save_lines(tmp_path, [{"text": t, "label": n} for t, n in zip("abcd", ["biz", "sport"] * 2)])
    features = Features(text=Value("string"), label=ClassLabel(names=["sport", "politics", "biz"]))
    test = str(tmp_path / "test.parquet")
    rows = {"text": ["x", "y", "z"], "label": [0, 2, -1]}
    Dataset.from_dict(rows, features=features).to_parquet(test)
    assert load_splits(DataSection(train=train, test=test), seed=0).test["label"] == [1, 0]  # -1: nobody said
    Dataset.from_dict(rows | {"label": [0, 1, 2]}, features=features).to_parquet(test)
    assert "row 2: the label 'politics' is none of biz, sport" in mistake(train, test=test)


def test_a_class_that_the_test_data_lacks_is_said(tmp_path, capsys):
    train = save(tmp_path, "text,label\na,x\nb,y\nc,z\nd,x\ne,y\nf,z\n")
    test = save(tmp_path, "text,label\na,x\nb,x\n", "test.csv")
    splits = load_splits(DataSection(train=train, test=test), seed=0)
    assert splits.labels == ["x", "y", "z"]
    assert "test: no row has the label y, z." in capsys.readouterr().out


# Mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "mine.csv is empty"),
        ("\ufeff", "mine.csv is empty"),
        ("text,label\n", "mine.csv has no rows"),
        ("text,label\na,x\nb,y,z\nc,y\nd\n", "line 3 has 3 fields where the header has 2 (2 such lines)"),
        ('text,label\n"a\nb",x\nc,y\nHello, world,y\n', "line 5 has 3 fields where the header has 2"),
        ('text,label\na,x\n"b,y\nc,y\n', "line 3: a quote opens a field and nothing closes it"),
        ('text,label\na,x\n"say "hi" now",y\nc,y\n', "line 3: a quote inside a quoted field is written twice"),
        ("text,label,label\na,x,y\nb,y,x\n", "has 2 columns named 'label'"),
        (
            "hello there,x\nbye,y\n",
            "no column 'text'; it has hello there, x. Its first line must name them; --text and",
        ),
        ("text|label\na|x\nb|y\n", "columns of a .csv file are separated by commas or semicolons or tabs, not by '|'"),
        ("id:'text':label\n1:a:x\n2:b:y\n", "not by ':'"),
        ("my text\na\nb\n", "has no column 'text'; it has my text. Did you mean 'my text'?"),
        ("text,label\na,x\nb,x\n", "every row has the label 'x'; a classifier needs two at least"),
        ("text,label\na,\nb,\n", "the column 'label' is empty"),
        ("text,label\n,a\n,b\n", "the column 'text' is empty"),
        ("text,label\n" + "".join(f"t{i},u{i}\n" for i in range(12)), "all 12 labels in the column 'label' differ"),
        ("text,label\ncafé,x\nnaïve,y\n".encode("latin-1"), "mine.csv, line 2: byte 0xE9 is not UTF-8"),
        ("text,label\na,x\n".encode("utf-16"), "mine.csv is UTF-16, not UTF-8"),
    ],
)
def test_a_broken_csv(tmp_path, content, message):
    assert message in mistake(save(tmp_path, content))


def test_commas_in_a_tsv(tmp_path):
    message = mistake(save(tmp_path, "text,label\na,x\nb,y\n", "mine.tsv"))
    assert "columns of a .tsv file are separated by tabs, not by ','" in message


def test_how_to_convert_is_said(tmp_path):
    message = mistake(save(tmp_path, "text,label\ncafé,x\n".encode("latin-1"), "my file.csv"))
    assert f"iconv -f WINDOWS-1252 -t UTF-8 '{tmp_path}/my file.csv'" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "mine.jsonl is empty"),
        ("\n \n\n", "mine.jsonl has no rows"),
        ('{"text": "a", "label": "x"}\n\n{"text": "b", "label": }\n', "line 3, character 24: not JSON"),
        ('{"text": "a", "label": "x"}\n{"text": "b", "lab', "line 2, character 15: not JSON"),
        ('{"text": "a", "label": "x"}\n["b", "y"]\n', "line 2 holds a list, not an object"),
        ('[{"text": "a"}, 3]', "item 2 holds a number, not an object"),
        ('[{"text": "a"},\n {"text": "b"}', "line 2, character 15: not JSON"),
        ('{"text": "café", "label": "x"}\n'.encode("latin-1"), "line 1: byte 0xE9 is not UTF-8"),
        ('{"text": "a", "topic": "x"}\n', "has no column 'label'; it has text, topic."),
    ],
)
def test_broken_json_lines(tmp_path, content, message):
    assert message in mistake(save(tmp_path, content, "mine.jsonl"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", ["x", "y"]), ("b", ["x"])], "row 1: the label is a list, ['x', 'y']: several labels"),
        ([("a", {"x": 1}), ("b", {"x": 2})], "row 1: the label is an object"),
        ([("a", "x"), ({"t": 1}, "y")], "column 'text' holds texts (row 1) and objects (row 2)"),
        ([({"t": "a"}, "x"), ({"t": "b"}, "y")], "row 1: 'text' holds an object, not a text"),
        ([("a", "x"), ("b", ["y"])], "column 'label' holds texts (row 1) and lists (row 2)"),
        ([(["a", {"b": 1}], "x")], "column 'text' holds"),
    ],
)
def test_values_that_are_no_text_and_no_label(tmp_path, rows, message):
    source = save_lines(tmp_path, [{"text": text, "label": label} for text, label in rows])
    assert message in mistake(source)


def test_a_file_of_another_kind(tmp_path):
    source = save(tmp_path, "text,label\n", "mine.xlsx")
    assert "mine.xlsx: .xlsx files are not read; save it as one of .csv, .tsv" in mistake(source)


def test_a_pair_without_its_second_text_is_left_out(tmp_path, capsys):
    source = save(tmp_path, "text,other,label\na,b,x\nc,,y\nd,e,y\nf,g,y\n")
    splits = load_splits(DataSection(train=source, text_pair="other"), seed=0)
    assert len(splits.train) + len(splits.validation) == 3
    assert "1 of 4 rows have no text or no label" in capsys.readouterr().out


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_header_in_quotes(tmp_path, separator):
    rows = [f'"a, b; c"{separator}"x"', f'"d ""e"""{separator}"y"'] * 5
    content = "\r\n".join([f'"text"{separator}"label"', *rows])
    assert set(read(save(tmp_path, content))) == {("a, b; c", "x"), ('d "e"', "y")}


def test_a_misspelt_label_is_not_the_class_none():
    with pytest.raises(UserError, match="row 2: the label 'spm' is none of None, Spam"):
        encode_labels(["None", "spm"], ["None", "Spam"], [], by_position=False, what="test")


@pytest.mark.parametrize("line", ['{"text": ' + "9" * 5000 + ', "label": "x"}', '{"text": ' + "[" * 100_000])
def test_json_that_python_cannot_hold(tmp_path, line):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n' + line + "\n", encoding="utf-8")
    assert "mine.jsonl, line 2" in mistake(str(path))


@pytest.mark.parametrize("names", [["1", "2", "3"], ["one", "2", "three"]])
def test_numbers_are_names_or_positions_and_not_both(names):
    """Stars counted from 0 under names counted from 1: by turns, 0 and 1 would both be the first."""
    with pytest.raises(UserError, match="which of them the labels are cannot be told"):
        encode_labels(["0", "1", "2"], names, [], by_position=True, what="train")
    assert encode_labels(["0", "2", "1"], ["one", "two", "three"], [], by_position=True, what="train") == [0, 2, 1]


def test_rows_that_all_occur_in_the_validation_data(tmp_path):
    rows = save_lines(tmp_path, [{"text": text, "label": text} for text in "abab"])
    assert "no rows are left to train on" in mistake(rows, validation=rows, decontaminate=["text"])
