"""What is asked of the model: no label is explained that no result names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pipelines import build, total
from transformers import AutoTokenizer, GPT2Config, GPT2ForSequenceClassification

from modeling_attrib import AttribForSequenceClassification, AttribTextClassificationPipeline, text_inference


GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4}
MANY = [f"intent {number}" for number in range(77)]
LONG = "word another " * 40


def short_windows(folder: Path, **config: Any) -> AttribTextClassificationPipeline:
    pipe = build(folder, **config)
    pipe.tokenizer.model_max_length = 32
    return pipe


@pytest.fixture(scope="module")
def pipe(minilm_folder: Path) -> AttribTextClassificationPipeline:
    return short_windows(minilm_folder, labels=MANY)


class Passes:
    """Counts, at the model: windows read for their logits alone, and pairs of a window and a label explained."""

    def __init__(self, pipe: AttribTextClassificationPipeline) -> None:
        self.read = self.explained = self.calls = 0
        self._model = pipe.model

    def __enter__(self) -> "Passes":
        self._handle = self._model.register_forward_hook(self._count)
        return self

    def __exit__(self, *error: Any) -> None:
        self._handle.remove()

    def _count(self, model: Any, arguments: Any, output: Any) -> None:
        self.calls += 1
        if output.attributions is None:
            self.read += len(output.logits)
        else:
            self.explained += output.attribution_target.numel()


@pytest.fixture
def backward_passes(monkeypatch) -> list[int]:
    """How many labels each backward pass was for."""
    passes, grad = [], torch.autograd.grad

    def counted(outputs: Any, *arguments: Any, **options: Any) -> Any:
        passes.append(1)
        return grad(outputs, *arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    return passes


def windows(pipe: AttribTextClassificationPipeline, text: Any) -> int:
    return len(pipe.preprocess(text)["text"].windows)


def test_a_long_text_explains_the_label_that_its_windows_make_together(pipe, backward_passes):
    count = windows(pipe, LONG)
    assert count > 3
    with Passes(pipe) as passes:
        pipe("known")  # a model is checked at its first explanation
        passes.read = passes.explained = passes.calls = 0
        backward_passes.clear()
        result = pipe(LONG)[0]
    assert (passes.read, passes.explained, passes.calls) == (count, count, 2 * count)
    assert len(backward_passes) == count
    every = {entry["label"]: entry for entry in pipe(LONG, top_k=None)}[result["label"]]
    assert [entry["score"] for entry in result["attributions"]] == pytest.approx(
        [entry["score"] for entry in every["attributions"]], abs=1e-5
    )
    assert result["residual"] == pytest.approx(every["residual"], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "read", "explained"),
    [
        ({"target": "intent 3"}, 0, 1),
        ({"target": 3, "top_k": 1}, 0, 1),
        ({"contrast": 3}, 1, 1),
        ({"top_k": 1}, 1, 1),
        ({"top_k": 3}, 1, 3),
        ({"top_k": None}, 0, 77),
        ({"top_k": 60}, 0, 77),
        ({"attributions": False}, 1, 0),
    ],
)
def test_passes_over_a_long_text(pipe, arguments, read, explained):
    count = windows(pipe, LONG)
    with Passes(pipe) as passes:
        pipe(LONG, **arguments)
    assert (passes.read, passes.explained) == (read * count, explained * count)


@pytest.mark.parametrize(
    ("arguments", "read", "explained"), [({}, 0, 1), ({"top_k": 3}, 1, 3), ({"top_k": None}, 0, 77)]
)
def test_passes_over_a_short_text(pipe, arguments, read, explained):
    with Passes(pipe) as passes:
        results = pipe("Oil falls", function_to_apply="none", **arguments)
    assert (passes.read, passes.explained) == (read, explained)
    for result in results:
        assert total(result) == pytest.approx(result["score"], abs=1e-3)


def test_windows_are_read_in_batches(pipe):
    pair = {"text": "Is this about oil?", "text_pair": LONG}
    texts = ["Oil falls", LONG, "Stocks rise", pair]
    several = sum(windows(pipe, text) for text in (LONG, pair))
    with Passes(pipe) as passes:
        together = pipe(texts, batch_size=4)
    assert (passes.read, passes.explained) == (several, several + 2)
    assert passes.calls == 1 + 2 * -(-several // 4)
    for text, result in zip(texts, together):
        alone = pipe(text)
        alone = alone if isinstance(alone, dict) else alone[0]
        assert result["label"] == alone["label"]
        assert [entry["score"] for entry in result["attributions"]] == pytest.approx(
            [entry["score"] for entry in alone["attributions"]], abs=1e-5
        )


def test_one_label_needs_no_deciding(minilm_folder):
    pipe = short_windows(minilm_folder, labels=["stars"], problem_type="regression")
    with Passes(pipe) as passes:
        result = pipe(LONG)[0]
    assert (passes.read, passes.explained) == (0, windows(pipe, LONG))
    assert total(result) == pytest.approx(result["score"], abs=1e-3)


@pytest.mark.parametrize("text", ["Oil falls", LONG], ids=["short", "long"])
def test_of_scores_that_round_to_one_the_named_label_is_explained(minilm_folder, text):
    pipe = short_windows(minilm_folder, problem_type="multi_label_classification")
    with torch.no_grad():
        pipe.model.classifier.weight.mul_(1e-3)
        pipe.model.classifier.bias.copy_(torch.tensor([0.0, 40.0, 50.0, 1.0]))  # sigmoid: both 1.0
    result = pipe(text)[0]
    assert result["label"] == "Sports"
    assert total(result) == pytest.approx(40, abs=0.1)


@pytest.fixture(scope="module")
def decoder(minilm_folder: Path) -> AttribTextClassificationPipeline:
    """Of a decoder whose own padding is another token than its tokenizer's: its head looks for its own."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    original = GPT2ForSequenceClassification(GPT2Config(vocab_size=len(tokenizer), pad_token_id=7, **GPT)).eval()
    for parameter in original.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model = AttribForSequenceClassification.from_classifier(original)
    return AttribTextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu")


@pytest.mark.parametrize("answered_by", ["model", "file", "compiled shapes"])
def test_short_windows_are_filled_with_what_the_model_takes_for_padding(decoder, monkeypatch, answered_by):
    texts = ["Oil falls", "Stocks rally as oil falls and the coach left"]
    alone = [decoder(text)[0] for text in texts]
    if answered_by == "file":  # which knows nothing of its model's padding
        monkeypatch.setattr(decoder, "_onnx", lambda **inputs: decoder.model(**inputs))
    if answered_by == "compiled shapes":
        monkeypatch.setattr(text_inference, "is_xla", lambda device: True)
    for one, other in zip(alone, decoder(texts, batch_size=2)):
        other = other if isinstance(other, dict) else other[0]
        assert other["score"] == pytest.approx(one["score"], abs=1e-5)
        scores = [[entry["score"] for entry in result["attributions"]] for result in (one, other)]
        assert scores[1] == pytest.approx(scores[0], abs=1e-4)
