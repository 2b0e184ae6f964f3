"""`attrib explain` and `attrib convert` on real folders: stock classifiers, our models, adapters, hostile texts."""

import io
import json

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    pipeline,
)

from attrib_lab.commands import build_parser
from attrib_lab.explaining.coloured_text import printable, terminal_text
from attrib_lab.models.any_classifier import open_classifier
from attrib_lab.models.model_folder import load_trained_model
from attrib_lab.terminal.errors import UserError
from tests.attrib_lab.toy_data import write_backbone


NAMES = {0: "calm", 1: "angry", 2: "sad"}
SIZE = {"vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    (folder / "words").mkdir()
    tokenizer = AutoTokenizer.from_pretrained(write_backbone(folder / "words"))
    torch.manual_seed(0)
    config = BertConfig(**SIZE | {"vocab_size": len(tokenizer)}, id2label=NAMES)
    config.label2id = {name: index for index, name in NAMES.items()}
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run(*words):
    arguments = build_parser().parse_args([str(word) for word in words])
    arguments.run(arguments)


def test_a_stock_classifier_is_explained_with_the_stock_pipelines_answer(stock, capsys):
    run("explain", stock, "a late goal", "--json")
    found = json.loads(capsys.readouterr().out)
    expected = pipeline("text-classification", model=str(stock))("a late goal")[0]
    assert (found["text"], found["label"]) == ("a late goal", expected["label"])
    assert found["score"] == pytest.approx(expected["score"], abs=1e-6)
    assert [entry["word"] for entry in found["attributions"]] == ["a", "late", "goal"]


def test_texts_come_from_a_file_a_table_or_a_pipe(stock, tmp_path, capsys, monkeypatch):
    lines, table = tmp_path / "texts.txt", tmp_path / "texts.csv"
    lines.write_text("one goal\n\ntwo goals\n")
    table.write_text("body,id\none goal,1\ntwo goals,2\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("one goal\n\ntwo goals\n"))
    for words in (["--file", lines], ["--file", table, "--text", "body"], []):
        run("explain", stock, *words, "--json")
        texts = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
        assert texts == ["one goal", "two goals"]


def test_a_page_is_written(stock, tmp_path, capsys):
    run("explain", stock, "<b>goal</b>", "--html", tmp_path / "new" / "page.html", "--target", "2")
    page = (tmp_path / "new" / "page.html").read_text()
    assert "&lt;" in page
    assert "<b>goal" not in page
    assert "explained: sad" in capsys.readouterr().out or "sad  " in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing-here", "a"], "nothing-here: no classifier can be loaded"),
        (["{stock}", "a", "--target", "angy"], "Did you mean 'angry'?"),
        (["{stock}", "a", "--method", "lpr"], "unknown attribution method 'lpr'"),
        (["{stock}", "--file", "{empty}"], "holds no text"),
    ],
)
def test_mistakes_are_one_line(stock, tmp_path, words, message):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        run("explain", *(word.format(stock=stock, empty=empty) for word in words))


def test_a_setfit_folders_pickle_is_not_read(tmp_path):
    (tmp_path / "model_head.pkl").write_bytes(b"cos\nsystem\n")
    with pytest.raises(UserError, match=r"a pickle, which runs code .*from_classifier"):
        open_classifier(str(tmp_path))


def test_converted_it_answers_as_before_and_says_so(stock, tmp_path, capsys):
    run("convert", stock, "--output", tmp_path / "mine")
    assert "BertForSequenceClassification explains itself now" in capsys.readouterr().out
    trained = load_trained_model(tmp_path / "mine")
    inputs = dict(AutoTokenizer.from_pretrained(stock)("a late goal", return_tensors="pt"))
    with torch.no_grad():
        expected = BertForSequenceClassification.from_pretrained(stock)(**inputs).logits
        assert torch.equal(trained.model(**inputs, output_attributions=False).logits, expected)
    assert trained.model.config.id2label == NAMES
    pipe = pipeline("text-classification", model=str(tmp_path / "mine"), trust_remote_code=True)
    assert [entry["word"] for entry in pipe("a late goal")[0]["attributions"]] == ["a", "late", "goal"]
    with pytest.raises(UserError, match="not empty: choose another folder, or add --overwrite"):
        run("convert", stock, "--output", tmp_path / "mine")
    run("convert", stock, "--output", tmp_path / "mine", "--overwrite")
    with pytest.raises(UserError, match="explains itself already"):
        run("convert", tmp_path / "mine", "--output", tmp_path / "again")


def test_other_logits_leave_nothing(stock, tmp_path, monkeypatch):
    monkeypatch.setattr("attrib_lab.models.conversion.torch.equal", lambda *tensors: False)
    with pytest.raises(UserError, match="other logits"):
        run("convert", stock, "--output", tmp_path / "mine")
    assert not (tmp_path / "mine").exists() or not any((tmp_path / "mine").iterdir())


def test_a_decoder_without_padding_gets_its_tokenizers(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(write_backbone(tmp_path / "words"))
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, num_labels=3)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    opened = open_classifier(str(tmp_path))
    assert opened.model.original.config.pad_token_id == tokenizer.pad_token_id
    inputs = tokenizer(["a late goal", "goal"], padding=True, return_tensors="pt")
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        together = opened.model(**inputs).logits[1]
        alone = opened.model(**{name: value[1:, inputs["attention_mask"][1].bool()] for name, value in inputs.items()})
    torch.testing.assert_close(together, alone.logits[0], rtol=1e-5, atol=1e-6)


# Text in a terminal ------------------------------------------------------------------------------------------


RESULT = {
    "label": "calm",
    "score": 0.9,
    "attributions": [
        {"word": "good", "start": 0, "end": 4, "score": 1.0},
        {"word": "bad", "start": 5, "end": 8, "score": -0.5},
        {"word": "dull", "start": 9, "end": 13, "score": 0.01},
    ],
    "special_score": 0.2,
    "residual": -0.1,
}


def test_words_for_and_against_have_colours_and_numbers():
    shown = terminal_text("good bad dull", RESULT, colours=True).splitlines()
    assert shown[0] == "calm  90.0%"
    assert shown[1] == "\033[48;5;27;38;5;231mgood\033[0m \033[48;5;209;38;5;16mbad\033[0m dull"
    assert shown[2:] == ["  for: good +1.00, dull +0.01", "  against: bad -0.50", "  words +0.51, rest +0.10"]
    assert terminal_text("good bad dull", RESULT, colours=False).splitlines()[1] == "good bad dull"


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x9b31m", "\u202e", "\x07", "\ud800"])
def test_a_text_cannot_command_the_terminal(hostile):
    assert hostile[0] not in printable(f"a{hostile}b")
    assert printable("a\nb\tc é 漢 👍🏽") == "a b c é 漢 👍🏽"
