"""The pipeline: the stock result to the digit, words that are the text's own, nothing lost."""

import itertools
import random
import threading
import warnings

import pytest
import torch
from pipelines import LABELS, build, total
from transformers import AutoTokenizer, BertConfig, TextClassificationPipeline, pipeline

from modeling_attrib import AttribConfig, AttribForSequenceClassification, AttribTextClassificationPipeline


HARD_TEXTS = [
    "Stocks rally as oil falls, don't they?",
    "naïve café, Zürich; décomposé e\u0301te\u0301",
    "👩\u200d👩\u200d👧 won 👍🏽 the 🇫🇷 cup",
    "日本語のテスト、世界。株価が上がった。",
    "مرحبا بالعالم هذا اختبار",
    "שלום עולם, מה שלומך?",
    "tab\tnew\nline\r\nnon\u00a0breaking",
    "the the the cat the",
    "a\ud800b lone \udfff surrogate",
    "nul\x00inside \x07 bell",
    "",
    "   \t ",
    "हिन्दी में परीक्षण",
    "http://example.org/a?b=c&d=<e>",
    "superlongword" * 30,
]


@pytest.fixture(scope="module")
def pipe(minilm_folder: str) -> AttribTextClassificationPipeline:
    return build(minilm_folder)


@pytest.fixture(scope="module")
def stock(pipe: AttribTextClassificationPipeline) -> TextClassificationPipeline:
    return TextClassificationPipeline(model=pipe.model, tokenizer=pipe.tokenizer)


def logits_of(pipe: AttribTextClassificationPipeline, *text: str) -> torch.Tensor:
    with torch.no_grad():
        return pipe.model(**pipe.tokenizer(*text, return_tensors="pt")).logits[0]


@pytest.mark.parametrize("arguments", [{}, {"top_k": 1}, {"top_k": 2}, {"top_k": None}, {"function_to_apply": "none"}])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_label_and_score_are_the_stock_pipelines(pipe, stock, arguments, batch_size):
    texts = [text for text in HARD_TEXTS if "\ud800" not in text]
    ours, theirs = pipe(texts, batch_size=batch_size, **arguments), stock(texts, **arguments)
    for mine, other in zip(ours, theirs):
        mine, other = ([x] if isinstance(x, dict) else x for x in (mine, other))
        assert [entry["label"] for entry in mine] == [entry["label"] for entry in other]
        assert [entry["score"] for entry in mine] == pytest.approx([entry["score"] for entry in other], abs=1e-6)


def test_label_and_score_over_500_real_texts(minilm_folder, data_folder):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow reads the real texts")
    texts = parquet.read_table(data_folder / "agnews" / "test.parquet")["text"].to_pylist()[:500]
    torch.manual_seed(0)
    model = AttribForSequenceClassification.from_backbone(minilm_folder, num_labels=4).eval()
    torch.nn.init.normal_(model.classifier.weight, std=0.3)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    pipe = AttribTextClassificationPipeline(model=model, tokenizer=tokenizer)
    theirs = TextClassificationPipeline(model=model, tokenizer=tokenizer)(texts, batch_size=16, padding=True)
    ours = pipe(texts, batch_size=16)
    assert [result["label"] for result in ours] == [result["label"] for result in theirs]
    assert max(abs(a["score"] - b["score"]) for a, b in zip(ours, theirs)) < 1e-6
    for text, result in zip(texts, ours):
        assert all(text[a["start"] : a["end"]] == a["word"] for a in result["attributions"])


def test_shapes_of_input_are_the_stock_pipelines(pipe, stock):
    text, pair = "Oil falls", {"text": "Oil falls", "text_pair": "Stocks rise"}
    assert isinstance(pipe(text), list)
    assert isinstance(pipe(pair), dict)
    assert len(list(pipe(t for t in [text, "b", "c"]))) == 3
    assert pipe(pair)["score"] == pytest.approx(stock(pair)["score"], abs=1e-6)
    assert pipe([[["Oil falls", "Stocks rise"]]]) == [pipe(pair)]  # the stock pipeline still takes this form
    assert pipe(text, attributions=False) == stock(text)
    assert pipe("oil " * 300, truncation=True, max_length=20)[0]["score"] == pytest.approx(
        stock("oil " * 300, truncation=True, max_length=20)[0]["score"], abs=1e-6
    )


@pytest.mark.parametrize("aggregation", ["word", "token", "sentence"])
@pytest.mark.parametrize("text", HARD_TEXTS, ids=range(len(HARD_TEXTS)))
def test_words_are_the_texts_own_and_scores_add_up(pipe, text, aggregation):
    result = pipe(text, aggregation=aggregation)[0]
    for entry in result["attributions"]:
        assert text[entry["start"] : entry["end"]] == entry["word"]
    ends = [(entry["start"], entry["end"]) for entry in result["attributions"] if not entry.get("special")]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ends))
    clean = text.replace("\ud800", "\ufffd").replace("\udfff", "\ufffd")
    logit = logits_of(pipe, clean)[LABELS.index(result["label"])].item()
    assert total(result) == pytest.approx(logit, abs=1e-4)


def test_every_letter_of_a_plain_text_is_in_a_word(pipe):
    text = "Stocks rally as oil falls, don't they?"
    words = [entry["word"] for entry in pipe(text)[0]["attributions"]]
    assert words == ["Stocks", "rally", "as", "oil", "falls", ",", "don't", "they", "?"]


def test_token_level_is_in_the_order_of_the_text(pipe):
    entries = pipe("unbelievable falls", aggregation="token")[0]["attributions"]
    assert [e["token"] for e in entries] == pipe.tokenizer("unbelievable falls").tokens()
    assert [e["start"] for e in entries] == sorted(e["start"] for e in entries)
    pair = {"text": "Oil falls", "text_pair": "Stocks rise"}
    entries = pipe(pair, aggregation="token")["attributions"]
    assert [e["token"] for e in entries] == pipe.tokenizer(**pair).tokens()
    assert [e["sequence"] for e in entries] == ["text"] * 4 + ["text_pair"] * 3
    assert [e["end"] for e in entries if e["special"]] == [0, 9, 11]


def test_token_level_marks_special_tokens(pipe):
    entries = pipe("unbelievable falls", aggregation="token")[0]["attributions"]
    assert [e["token"] for e in entries if e["special"]] == ["[CLS]", "[SEP]"]
    assert [e["token"] for e in entries if not e["special"]] == pipe.tokenizer.tokenize("unbelievable falls")
    assert all(e["word"] == "" and e["start"] == e["end"] for e in entries if e["special"])


def test_a_repeated_word_keeps_its_own_place(pipe):
    entries = pipe("the cat the")[0]["attributions"]
    assert [(e["start"], e["end"]) for e in entries] == [(0, 3), (4, 7), (8, 11)]
    assert entries[0]["score"] != entries[2]["score"]


def test_pairs_say_which_text_a_word_is_from(pipe):
    pair = {"text": "Oil falls", "text_pair": "Oil falls again"}
    result = pipe(pair)
    assert [e["sequence"] for e in result["attributions"]] == ["text"] * 2 + ["text_pair"] * 3
    for entry in result["attributions"]:
        assert pair[entry["sequence"]][entry["start"] : entry["end"]] == entry["word"]
    logit = logits_of(pipe, pair["text"], pair["text_pair"]).max().item()
    assert total(result) == pytest.approx(logit, abs=1e-4)


def test_target_and_contrast(pipe):
    text = "Oil falls as stocks rise"
    logits = logits_of(pipe, text)
    sports = pipe(text, target="Sports")[0]
    assert sports["target"] == "Sports"
    assert total(sports) == pytest.approx(logits[1].item(), abs=1e-4)
    assert pipe(text, target=1)[0]["attributions"] == sports["attributions"]
    against = pipe(text, target="Sports", contrast="World")[0]
    assert against["contrast"] == "World"
    assert total(against) == pytest.approx((logits[1] - logits[0]).item(), abs=1e-4)


def test_top_k_explains_each_label_toward_itself(pipe):
    text = "Oil falls as stocks rise"
    logits = logits_of(pipe, text)
    for entry in pipe(text, top_k=None):
        assert total(entry) == pytest.approx(logits[LABELS.index(entry["label"])].item(), abs=1e-4)


@pytest.mark.parametrize("top_k", [None, 2, 4])
def test_a_targets_words_are_under_no_other_label(pipe, top_k):
    with pytest.raises(
        ValueError, match=rf"target= explains one label, and top_k={top_k} gives each of several its own"
    ):
        pipe("Oil falls", top_k=top_k, target="Sports")
    assert len(pipe("Oil falls", top_k=top_k, target="Sports", attributions=False)) == (top_k or 4)
    assert pipe("Oil falls", top_k=1, target="Sports")[0]["target"] == "Sports"
    listing = AttribTextClassificationPipeline(model=pipe.model, tokenizer=pipe.tokenizer, top_k=top_k)
    with pytest.raises(ValueError, match="target= explains one label"):
        listing("Oil falls", target="Sports")


@pytest.mark.parametrize("target", ["Sports", 1])
def test_a_label_against_itself_is_refused(pipe, target):
    with pytest.raises(ValueError, match="contrast='Sports' is the label explained"):
        pipe("Oil falls", target=target, contrast="Sports")
    asked = AttribTextClassificationPipeline(model=pipe.model, tokenizer=pipe.tokenizer, contrast="Sports")
    with pytest.raises(ValueError, match="contrast='Sports' is the label explained"):
        asked("Oil falls", target=target)


def test_the_only_label_has_no_contrast(minilm_folder):
    with pytest.raises(ValueError, match="contrast='toxicity' is the label explained"):
        build(minilm_folder, labels=["toxicity"])("Oil falls", contrast=0)


def test_a_text_predicted_the_contrast_is_warned_of(pipe):
    text = "Oil falls as stocks rise"
    label = pipe(text)[0]["label"]
    with pytest.warns(UserWarning, match=f"the label '{label}' is explained against itself, and no score says why"):
        (result,) = pipe(text, contrast=label)
    assert not any(entry["score"] for entry in result["attributions"])
    assert "no score says why" in pipe.render_html(text, result)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe(text, contrast=next(name for name in LABELS if name != label))


def test_methods_and_their_options(pipe):
    text = "Oil falls as stocks rise"
    query = pipe(text, method="attention_gradient", method_options={"orientation": "query"})[0]
    key = pipe(text, method="attention_gradient", method_options={"orientation": "key"})[0]
    assert [e["word"] for e in query["attributions"]] == [e["word"] for e in key["attributions"]]
    assert [e["score"] for e in query["attributions"]] != [e["score"] for e in key["attributions"]]


def test_a_long_text_is_read_whole(pipe):
    generator = random.Random(0)
    words = ["oil", "stocks", "match", "rocket", "minister", "unbelievably", "goal,"]
    text = " ".join(generator.choice(words) for _ in range(1500))
    result = pipe(text, batch_size=2)[0]
    covered = "".join(entry["word"] for entry in result["attributions"])
    assert covered == text.replace(" ", "")
    # The combined logit, recomputed window by window with the tokenizer's own windows.
    encoded = pipe.tokenizer(
        text, truncation=True, max_length=512, stride=64, return_overflowing_tokens=True, padding=True,
        return_tensors="pt",
    )  # fmt: skip
    encoded.pop("overflow_to_sample_mapping")
    with torch.no_grad():
        logits = pipe.model(**encoded, output_attributions=False).logits
    sizes = encoded["attention_mask"].sum(dim=1) - 2
    combined = (logits * (sizes / sizes.sum()).unsqueeze(1)).sum(dim=0)
    assert result["label"] == LABELS[combined.argmax()]
    assert result["score"] == pytest.approx(combined.softmax(-1).max().item(), abs=1e-5)
    assert total(result) == pytest.approx(combined.max().item(), abs=1e-3)


def test_a_word_in_two_windows_gets_one_score(pipe):
    text = " ".join(f"w{number}" for number in range(700))
    without, overlapping = pipe(text, overlap=0)[0], pipe(text, overlap=100)[0]
    for result in (without, overlapping):
        assert [entry["word"] for entry in result["attributions"]] == text.split()


def test_a_long_second_text_is_windowed_and_the_first_kept(pipe):
    pair = {"text": "Is this about oil?", "text_pair": "stocks and oil " * 300}
    result = pipe(pair)
    counts = [entry["sequence"] for entry in result["attributions"]]
    assert counts.count("text") == 5
    assert counts.count("text_pair") == 900


def test_a_hundred_thousand_words(pipe):
    text = "word another " * 50_000
    result = pipe(text, batch_size=16)[0]
    assert len(result["attributions"]) == 100_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "Sport"}, "Did you mean 'Sports'"),
        ({"target": 4}, "not a label"),
        ({"contrast": "Weather"}, "not a label"),
        ({"aggregation": "words"}, "word, token, sentence"),
        ({"agregation": "token"}, "unknown argument 'agregation'. Did you mean 'aggregation'"),
        ({"targets": "World"}, "Did you mean 'target'"),
        ({"method": "lpr"}, "unknown attribution method 'lpr'"),
        ({"method": "lrp", "method_options": {"layers": "all"}}, "has no option 'layers'"),
    ],
)
def test_a_wrong_argument_is_named(pipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipe("Oil falls", **arguments)


@pytest.mark.parametrize("text", [7, {"txt": "Oil"}, {"text": None}, [["a", "b", "c"]]])
def test_input_that_is_no_text_is_refused(pipe, text):
    with pytest.raises(ValueError, match="text"):
        pipe(text)


@pytest.mark.parametrize("overlap", [-1, 510, "many"])
def test_an_impossible_overlap_is_refused(pipe, overlap):
    with pytest.raises(ValueError, match="overlap"):
        pipe("word " * 600, overlap=overlap)


def test_a_pair_of_two_long_texts_is_refused(pipe):
    with pytest.raises(ValueError, match="both texts of the pair are too long"):
        pipe({"text": "oil " * 600, "text_pair": "gas " * 600})


def test_html_of_a_result_is_escaped(pipe):
    text = "<script>alert('oil')</script> falls"
    fragment = pipe.render_html(text, pipe(text)[0])
    assert "<script>" not in fragment
    assert "&lt;" in fragment


def test_two_threads_with_two_methods(pipe):
    texts = ["Oil falls as stocks rise", "The striker scored twice", "A rocket reached orbit"] * 5
    methods = ["lrp", "attention_gradient"]
    alone = {method: [pipe(text, method=method) for text in texts] for method in methods}
    together: dict[str, list] = {}

    def work(method: str) -> None:
        together[method] = [pipe(text, method=method) for text in texts]

    threads = [threading.Thread(target=work, args=(method,)) for method in methods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_threads_that_share_a_tokenizer_do_not_cut_each_others_texts(pipe):
    short, long = "Oil falls", "stocks rise again " * 250
    expected = {text: pipe(text)[0] for text in (short, long)}
    answers: dict[str, list] = {short: [], long: []}

    def work(text: str) -> None:
        answers[text] += [pipe(text)[0] for _ in range(8)]

    threads = [threading.Thread(target=work, args=(text,)) for text in (short, long, short, long)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for text, results in answers.items():
        assert len(results) == 16
        assert all(result == expected[text] for result in results)


def test_left_padding_moves_no_score(minilm_folder):
    left = build(minilm_folder)
    left.tokenizer.padding_side = "left"
    right = build(minilm_folder)
    texts = ["stocks rise again and again after a long day", "hi there", "oil"]
    for one, other in zip(left(texts, batch_size=3), right(texts, batch_size=3)):
        assert [e["word"] for e in one["attributions"]] == [e["word"] for e in other["attributions"]]
        assert [e["score"] for e in one["attributions"]] == pytest.approx(
            [e["score"] for e in other["attributions"]], abs=1e-5
        )


def test_a_model_object_from_training_is_read_without_dropout(minilm_folder):
    trained = build(minilm_folder)
    trained.model.train()
    named = pipeline(
        "text-classification",
        model=trained.model,
        tokenizer=trained.tokenizer,
        pipeline_class=AttribTextClassificationPipeline,
        device="cpu",
    )
    assert named("Oil falls") == trained("Oil falls")
    assert named("Oil falls")[0]["attributions"]
    trained.model.train()
    with pytest.raises(ValueError, match="training mode"):
        named("Oil falls")


def test_names_given_one_way_are_known_both_ways(minilm_folder):
    torch.manual_seed(0)
    backbone = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48)
    model = AttribForSequenceClassification(AttribConfig(backbone_config=backbone, id2label={0: "no", 1: "yes"})).eval()
    pipe = AttribTextClassificationPipeline(model=model, tokenizer=AutoTokenizer.from_pretrained(minilm_folder))
    assert pipe("Oil falls", target="yes")[0]["target"] == "yes"
    assert pipe("Oil falls")[0]["label"] in ("no", "yes")
