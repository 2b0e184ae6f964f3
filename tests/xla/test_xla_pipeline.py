"""The pipeline on an XLA device: the CPU's answers, from a number of graphs that does not grow with the texts."""

import pipelines
import pytest
from transformers import AutoTokenizer

from modeling_attrib import AttribTextClassificationPipeline


torch_xla = pytest.importorskip("torch_xla", reason="XLA's device: make test-xla")
metrics = pytest.importorskip("torch_xla.debug.metrics")

TEXTS = [
    "Stocks rally.",
    "The minister said after parliament had passed the budget that it felt like a cup final to her.",
    "A goal, a match, a coach.",
    "Shares of the bank fell again on the news from abroad, and chips did not help.",
    "Chips.",
]
OTHERS = [
    "A new striker.",
    "The coach had said before the match that the league would not be won by those who have the money for it.",
    "The bank said nothing, again.",
    "Parliament will be told on Monday what the new chips of the old company cost its owners.",
    "No profit today, said the board.",
]
LONG = " ".join(["Shares of the bank fell again on the news from abroad,"] * 50)


@pytest.fixture(scope="module")
def pipes(minilm_folder):
    """The same classifier on the CPU and on the device."""
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    on_cpu, twin = (pipelines.build(tokenizer) for _ in range(2))
    there = AttribTextClassificationPipeline(model=twin.model, tokenizer=tokenizer, device=torch_xla.device())
    return on_cpu, there


def alike(found, expected):
    """The same labels and words; scores to 1e-5 of the text's largest number."""
    assert [entry["label"] for entry in found] == [entry["label"] for entry in expected]
    for one, other in zip(found, expected):
        assert [entry["word"] for entry in one["attributions"]] == [entry["word"] for entry in other["attributions"]]
        numbers, right = ([answer["score"], answer["special_score"], answer["residual"]] for answer in (one, other))
        numbers += [entry["score"] for entry in one["attributions"]]
        right += [entry["score"] for entry in other["attributions"]]
        assert numbers == pytest.approx(right, rel=0, abs=1e-5 * max(1.0, *map(abs, right)))


@pytest.mark.parametrize("asked", [{}, {"target": "Sports", "contrast": 0}], ids=["predicted", "contrast"])
def test_answers_are_the_cpus(pipes, asked):
    on_cpu, there = pipes
    alike(there(TEXTS, batch_size=2, **asked), on_cpu(TEXTS, batch_size=2, **asked))


def test_every_label_of_a_text_in_windows(pipes):
    on_cpu, there = pipes
    alike(there(LONG, top_k=None, batch_size=2), on_cpu(LONG, top_k=None, batch_size=2))


def test_texts_of_other_lengths_compile_nothing_new(pipes):
    there = pipes[1]
    first = there(TEXTS, batch_size=2)
    metrics.clear_all()
    second = there(OTHERS, batch_size=2)
    assert metrics.metric_data("CompileTime") is None
    assert len(first) == len(second)
