"""Batches of texts that wait together: who is in them, and that each gets what the pipeline says of its own text."""

import threading
from types import SimpleNamespace

import pytest
from served import LABELS, same, tiny_pipeline

from attrib_lab.serving import micro_batching
from attrib_lab.serving.micro_batching import MicroBatcher, OverloadedError


class Recorder:
    """Answers texts with themselves; a token a character, and a window each ten. Waits until it is let go on."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[str], dict]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.fails: set[str] = set()

    def preprocess(self, text: str) -> dict:
        if text == "unreadable":
            raise ValueError("unreadable")
        windows = [SimpleNamespace(places=range(len(text[i : i + 10]))) for i in range(0, len(text), 10)]
        return {"text": SimpleNamespace(windows=windows)}

    def __call__(self, texts: list[str], batch_size: int, **question) -> list[tuple]:
        assert batch_size == len(texts)
        self.batches.append((texts, question))
        self.begun.set()
        assert self.go_on.wait(60)
        if self.fails & set(texts):
            raise RuntimeError(f"no answer for {texts}")
        return [(text, *question.items()) for text in texts]


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def batcher(recorder):
    batcher = MicroBatcher(recorder, batch_tokens=20)
    yield batcher
    recorder.go_on.set()
    batcher.stop(60)
    assert not batcher.alive


def occupy(batcher, recorder) -> None:
    """Have the model busy with a first text, so that all others wait."""
    batcher.submit(["busy"], {"method": "other"})
    assert recorder.begun.wait(60)


def test_texts_that_wait_are_explained_together_within_the_budget_and_nearest_in_length(batcher, recorder):
    occupy(batcher, recorder)
    texts = ["aaaa", "b" * 9, "cccc", "ddd", "eeeee", "f" * 9, "g"]
    answers = batcher.submit(texts, {})
    recorder.go_on.set()
    assert [answer.result(60) for answer in answers] == [(text,) for text in texts]
    # 4 rows × 5 tokens are the budget; the long ones follow with each other, and none is with the question before.
    expected = [{"aaaa", "cccc", "ddd", "eeeee"}, {"b" * 9, "f" * 9}, {"g"}]
    assert [set(texts) for texts, _ in recorder.batches[1:]] == expected


def test_other_questions_and_texts_of_several_windows_wait_for_a_batch_of_their_own(batcher, recorder):
    occupy(batcher, recorder)
    asked = [("a", {}), ("b", {"top_k": None}), ("c", {}), ("d" * 25, {}), ("e", {"top_k": None}), ("f" * 25, {})]
    answers = [batcher.submit([text], question)[0] for text, question in asked]
    recorder.go_on.set()
    assert [answer.result(60) for answer in answers] == [(text, *question.items()) for text, question in asked]
    assert [texts for texts, _ in recorder.batches[1:]] == [["a", "c"], ["b", "e"], ["d" * 25], ["f" * 25]]


def test_a_text_that_fails_takes_nobody_with_it(batcher, recorder):
    occupy(batcher, recorder)
    recorder.fails = {"bad"}
    good, bad, unreadable, fine = batcher.submit(["good", "bad", "unreadable", "fine"], {})
    recorder.go_on.set()
    assert (good.result(60), fine.result(60)) == (("good",), ("fine",))
    with pytest.raises(RuntimeError, match=r"no answer for \['bad'\]"):
        bad.result(60)
    with pytest.raises(ValueError, match="unreadable"):
        unreadable.result(60)
    assert batcher.submit(["after"], {})[0].result(60) == ("after",)


def test_what_nobody_waits_for_is_not_explained(batcher, recorder):
    occupy(batcher, recorder)
    gone, stays = batcher.submit(["gone", "stays"], {})
    assert gone.cancel()
    recorder.go_on.set()
    stays.result(60)
    assert [texts for texts, _ in recorder.batches[1:]] == [["stays"]]


def test_more_than_will_be_answered_soon_is_refused_at_once(batcher, recorder, monkeypatch):
    monkeypatch.setattr(micro_batching, "_MOST_WAITING", 4)
    occupy(batcher, recorder)
    answers = batcher.submit(["a", "b", "c"], {})
    with pytest.raises(OverloadedError, match="4 texts wait already"):
        batcher.submit(["d"], {})
    recorder.go_on.set()
    assert [answer.result(60) for answer in answers] == [("a",), ("b",), ("c",)]
    assert batcher.submit(["d"], {})[0].result(60) == ("d",)
    batcher.stop(60)
    assert batcher.waiting == 0


def test_no_more_is_looked_at_than_a_few_batches_need(batcher, recorder):
    occupy(batcher, recorder)
    looked_at = []
    look = recorder.preprocess
    recorder.preprocess = lambda text: looked_at.append(text) or look(text)
    answers = batcher.submit(["x" * 10] * 100, {})
    seen = []
    answers[0].add_done_callback(lambda _: seen.append(len(looked_at)))
    recorder.go_on.set()
    for answer in answers:
        answer.result(60)
    assert seen[0] <= micro_batching._LOOK_AHEAD * 20 // 10 + 1


def test_alone_a_text_is_answered_bit_for_bit_and_in_company_to_rounding(tmp_path):
    pipe = tiny_pipeline(tmp_path)
    texts = ["the striker said", "stocks", "a bank with profit after the merger", "", "goal " * 200]
    texts += [{"text": "the match", "text_pair": "the bank"}, "the coach \ud800 of shares"]
    questions = [{}, {"top_k": None}, {"target": LABELS[1], "contrast": 0, "method": "lrp", "aggregation": "token"}]
    expected = [[pipe([text], **question)[0] for text in texts] for question in questions]
    batcher = MicroBatcher(pipe, 256)
    try:
        for question, wanted in zip(questions, expected):
            assert [batcher.submit([text], question)[0].result(60) for text in texts] == wanted
            for answer, alone in zip(batcher.submit(texts, question), wanted):
                same(answer.result(60), alone)
    finally:
        batcher.stop(60)
