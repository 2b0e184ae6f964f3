"""The page in examples/browser beside the Python pipeline: same labels, probabilities, words and scores."""

import json
import math
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from docs.take_pictures import served
from modeling_attrib import AttribForSequenceClassification, render_html, render_page
from modeling_attrib.pipeline_attrib import AttribTextClassificationPipeline
from modeling_attrib.text_spans import word_spans


pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGE = Path(__file__).resolve().parents[2] / "examples" / "browser"
BUILT = PAGE / "dist"
TIMEOUT = 1800  # seconds: a page on a busy machine

TEXTS = [
    '"It felt like a cup final," the minister said after parliament passed the budget.',
    "Stocks rally as oil falls",
    "The striker scored twice in the second half, and the crowd sang until midnight.",
    "NASA's new telescope finds water on a planet 120 light-years away",
    "Google shares rise 15% in first day of trading; analysts don't agree why.",
    "<script>alert(1)</script> <b>bold</b> &amp; <img src=x onerror=alert(2)>",
    '"><svg onload=alert(1)> <iframe src="javascript:alert(2)"> <a href=javascript:alert(3)>striker</a>',
    "</div></main><style>*{display:none}</style>parliament",
    "Great win 👍🏽 for the 👨‍👩‍👧‍👦 team 🇩🇪🇫🇷 1️⃣2️⃣",
    "漢字かな交じり文 and 한글 in one 文",
    "𠀀𠀁 rare ideographs of the second plane",
    "הממשלה אישרה את התקציב today",
    "البرلمان يقر الميزانية, says minister",
    "tab\tseparated\t\tvalues\nand\n\nlines",
    "goal goal goal, budget goal, goal budget",
    "a lone \ud83d surrogate \ude00 in the match",
    "ΟΔΟΣ Ὀδυσσεύς ΣΊΣΥΦΟΣ straße İstanbul ﬁnal",
    "e\u0301le\u0300ve na\u00efve Zu\u0308rich co\u0302te",
    "right\u202eleft\u202c to\u200b zero\u200dwidth \ufeff marks",
    "[SEP] the [CLS] minister [MASK] said [UNK]",
    "nul\u0000l and \u0007bell \ufffd replaced",
    "!!! ... ??? --- ###",
    "x" * 150 + " an endless word",
    "ภาษาไทยไม่มีช่องว่าง football",
    "price: $1,234.56 / €3.50 (up 2.5%)",
    "   spaces around   ",
    "__proto__ constructor toString hasOwnProperty",
]


@pytest.fixture(scope="module")
def pipe() -> AttribTextClassificationPipeline:
    folder = os.environ.get("ATTRIB_MODEL", "outputs/demo")
    if not (BUILT / "model" / "model.onnx").is_file() or not Path(folder).is_dir():
        pytest.skip("the page is not built: make browser MODEL=...")
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    model = AttribForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return AttribTextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu")


def page_beside(folder: Path, **files: str | bytes | None) -> None:
    """The built page in a folder of its own, with some of its model's files replaced, or left out (None)."""
    (folder / "model").mkdir(parents=True)
    for part in BUILT.iterdir():
        if part.name != "model":
            (folder / part.name).symlink_to(part)
    for part in (BUILT / "model").iterdir():
        given = files.get(part.stem, part)
        if isinstance(given, Path):
            (folder / "model" / part.name).symlink_to(given)
        elif given is not None:
            (folder / "model" / part.name).write_bytes(given.encode() if isinstance(given, str) else given)


@pytest.fixture(scope="module")
def origin(pipe):
    with served(BUILT) as url:
        yield url


def units(text: str) -> list[int]:
    """A text in UTF-16, as JavaScript holds it."""
    data = text.encode("utf-16-le", "surrogatepass")
    return [int.from_bytes(data[place : place + 2], "little") for place in range(0, len(data), 2)]


def unit_places(text: str) -> list[int]:
    """Where each character, and the end, is in UTF-16."""
    places = [0]
    for char in text:
        places.append(places[-1] + 1 + (ord(char) > 0xFFFF))
    return places


def run_node(script: str, *arguments: object) -> object:
    """What a script prints for its arguments; the last one travels as JSON."""
    *named, given = arguments
    done = subprocess.run(
        ["node", str(PAGE / "test" / script), *named],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def long_text(pipe) -> str:
    return "The minister met 👍🏽 the team. " * pipe.tokenizer.model_max_length


@pytest.fixture(scope="module")
def visit(pipe, origin, long_text) -> dict:
    """One visit to the page: every text, then one explained for each label, against each label, and the odd ones."""
    labels = range(len(pipe.model.config.id2label))
    questions = [(text, None, None) for text in TEXTS]
    questions += [(TEXTS[0], target, None) for target in labels]
    questions += [(TEXTS[0], target, (target + 1) % len(labels)) for target in labels]
    questions += [("", None, None), (" \n\t", None, None), (long_text, None, None)]
    asked = [{"text": units(text), "target": target, "contrast": contrast} for text, target, contrast in questions]
    visit = run_node("drive.js", origin, asked)
    visit["answers"] = dict(zip(questions, visit["answers"]))
    return visit


def assert_same(pipe, answer: dict, text: str, **arguments) -> None:
    expected = pipe(text, aggregation="word", **arguments)[0]
    every = {row["label"]: row["score"] for row in pipe(text, top_k=None, attributions=False)}
    assert answer["label"] == max(every, key=every.get)
    assert answer["probabilities"] == pytest.approx(every, abs=1e-4)
    assert answer["text"] == units(text)
    assert answer["elements"] == answer["foreign"] == 0, "the text became elements"
    places = unit_places(text)
    spans = [[places[word["start"]], places[word["end"]]] for word in expected["attributions"] if word["word"]]
    assert [word[:2] for word in answer["words"]] == spans
    scores = [word["score"] for word in expected["attributions"] if word["word"]]
    assert [word[2] for word in answer["words"]] == pytest.approx(scores, abs=1e-4)
    words, special, residual, total = answer["sum"]
    assert (special, residual) == pytest.approx((expected["special_score"], expected["residual"]), abs=1e-4)
    assert total == pytest.approx(math.fsum((words, special, residual)), abs=1e-9)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_page_equals_pipeline(pipe, visit, text):
    assert_same(pipe, visit["answers"][text, None, None], text)


def test_chosen_label_equals_pipeline(pipe, visit):
    for target in range(len(pipe.model.config.id2label)):
        answer = visit["answers"][TEXTS[0], target, None]
        assert_same(pipe, answer, TEXTS[0], target=target)
        assert answer["focused"] == str(target), "who chose with the keyboard has lost their place"


def test_contrast_equals_pipeline(pipe, visit):
    count = len(pipe.model.config.id2label)
    for target in range(count):
        contrast = (target + 1) % count
        answer = visit["answers"][TEXTS[0], target, contrast]
        assert_same(pipe, answer, TEXTS[0], target=target, contrast=contrast)


def test_empty_text_is_named(visit):
    for text in ("", " \n\t"):
        answer = visit["answers"][text, None, None]
        assert answer["hidden"]
        assert "nothing to classify" in answer["status"]


def test_long_text_is_cut_and_said(pipe, visit, long_text):
    answer = visit["answers"][long_text, None, None]
    assert "were left out" in answer["status"]
    assert answer["text"] == units(long_text)
    expected = pipe(long_text, aggregation="word", truncation=True)[0]
    assert [word[2] for word in answer["words"]] == pytest.approx(
        [word["score"] for word in expected["attributions"]], abs=1e-4
    )


def test_nothing_leaves_the_origin_and_nothing_complains(visit, origin):
    own = (origin, f"blob:{origin}")
    assert [url for url in visit["requests"] if not url.startswith(own)] == []
    assert visit["complaints"] == visit["dialogs"] == []
    assert visit["elsewhere"] == ["TypeError", "TypeError"], "the page or its thread could fetch from elsewhere"


# Words of one letter, whose tops are level; lengths that leave lines at every fraction of a pixel.
LEVEL_TEXT = " ".join("x" * (1 + 7 * number % 11) for number in range(40))


def assert_level(found: dict[str, list[int]]) -> None:
    assert all(words > 30 for words, _ in found.values())
    assert {density: strays for density, (_, strays) in found.items() if strays} == {}, "words jump out of their line"


def test_words_of_the_page_stand_level(pipe, origin):
    assert_level(run_node("lines.js", origin, "#words", [LEVEL_TEXT]))


def test_words_of_rendered_html_stand_level(tmp_path):
    draw = random.Random(0)
    fragments = []
    for _ in range(4):
        scores = [draw.choice((0, 1)) * draw.gauss(0, 1) for _ in word_spans(LEVEL_TEXT)]
        words = [{"start": s, "end": e, "score": score} for (s, e), score in zip(word_spans(LEVEL_TEXT), scores)]
        result = {"label": "World", "score": draw.random(), "attributions": words, "residual": 1.0}
        fragments.append(("heading", render_html(LEVEL_TEXT, result)))
    (tmp_path / "page.html").write_text(render_page("title", fragments), encoding="utf-8")
    with served(tmp_path) as url:
        assert_level(run_node("lines.js", f"{url}page.html", ".attrib-text", []))


def foreign_graph() -> bytes:
    """A sound ONNX file that is not a classifier."""
    from onnx import TensorProto, helper

    place = [helper.make_tensor_value_info(name, TensorProto.INT64, [1]) for name in ("input_ids", "logits")]
    graph = helper.make_graph([helper.make_node("Identity", ["input_ids"], ["logits"])], "other", place[:1], place[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def test_what_is_not_ours_is_named(pipe, tmp_path):
    """A missing folder, a server that sends its own page for every file, other people's files, a broken download."""
    tokenizer = json.loads((BUILT / "model" / "tokenizer.json").read_text())
    part = (BUILT / "model" / "model.onnx").read_bytes()[:100_000]
    every = dict.fromkeys(("attrib", "tokenizer", "tokenizer_config", "model"))
    folders = {
        "missing": (every, "attrib.json is missing (404)"),
        "page": ({"attrib": "<!doctype html><title>Home</title>"}, "attrib.json is not JSON"),
        "config": ({"attrib": '{"model_type": "bert"}'}, "attrib.json does not describe a classifier with words"),
        "vocabulary": ({"tokenizer": json.dumps(tokenizer | {"model": {"type": "BPE"}})}, "BERT's kind of tokenizer"),
        "graphless": ({"model": None}, "model.onnx is missing (404)"),
        "broken": ({"model": part}, "model.onnx could not be opened"),
        "other": ({"model": foreign_graph()}, "model.onnx is not the graph that attrib.json describes"),
    }
    for name, (files, _) in folders.items():
        page_beside(tmp_path / name, **files)
    with served(tmp_path) as url:
        said = run_node("opening.js", f"{url}missing/", [f"{url}{name}/" for name in folders])
    for name, (_, expected) in folders.items():
        assert expected in said[f"{url}{name}/"]
        if name != "vocabulary":
            assert "attrib export" in said[f"{url}{name}/"], "it does not say how to mend it"
    assert "WebAssembly" in said["without WebAssembly"]


def test_label_names_stay_text(pipe, tmp_path):
    """Labels come from a file: they are as hostile as a text, and so are their direction marks."""
    names = ["<img src=x onerror=alert(1)>", "\u202etfel ot thgir", "constructor", "\"'`<b>&amp;"]
    names += [f"label {index}" for index in range(len(names), len(pipe.model.config.id2label))]
    names = names[: len(pipe.model.config.id2label)]
    description = json.loads((BUILT / "model" / "attrib.json").read_text())
    page_beside(tmp_path / "page", attrib=json.dumps(description | {"id2label": dict(enumerate(names))}))
    with served(tmp_path / "page") as url:
        visit = run_node("drive.js", url, [{"text": units(TEXTS[0]), "target": 0, "contrast": 1}])
    (answer,) = visit["answers"]
    assert sorted(answer["probabilities"]) == sorted(names)
    assert answer["question"] == f"Words for {names[0]} and for {names[1]}"
    assert answer["foreign"] == 0
    assert visit["complaints"] == visit["dialogs"] == []


def test_offsets_and_words_equal_python(pipe):
    pool = [
        *TEXTS[7:18],
        *"aA ÉéİıΣσς'’.,-_\t\n\u00a0\u200d\ufe0f\u20e3ﬁß1٣½#*👍🏽🇩🇪漢かカ한עعไ\u0301\u202e\u0000\ufffd𠀀\ud83d",
    ]
    pool += ["[SEP]", " minister ", "unbelievableness", "don't", "3.14", "<b>"]
    draw = random.Random(0)
    texts = TEXTS + ["".join(draw.choice(pool) for _ in range(draw.randint(0, 20))) for _ in range(300)]
    answers = run_node("encode.js", str(BUILT / "model"), [units(text) for text in texts])
    for text, answer in zip(texts, answers):
        places = unit_places(text)
        clean = re.sub("[\ud800-\udfff]", "\ufffd", text)  # as the pipeline does
        expected = pipe.tokenizer(clean, return_offsets_mapping=True, truncation=False, verbose=False)
        assert answer["ids"] == expected["input_ids"], repr(text)
        inside = [offset for offset in answer["offsets"] if offset]
        offsets = expected["offset_mapping"][1:-1]
        assert inside == [[places[start], places[end]] for start, end in offsets], repr(text)
        assert answer["words"] == [[places[start], places[end]] for start, end in word_spans(text)], repr(text)
