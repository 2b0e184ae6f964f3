"""Texts of many askers, explained together: one thread asks the model, in batches of texts alike."""

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from modeling_attrib import AttribTextClassificationPipeline


PATIENCE = 0.003  # seconds that a text waits for company; under load it has waited longer already
_LOOK_AHEAD = 8  # batches' worth of tokens that are looked through for texts of one length
_MOST_WAITING = 1024  # texts

Text = str | Mapping[str, str | None]  # a text, or a pair


class OverloadedError(Exception):
    """More texts wait already than will be answered soon."""


@dataclass(eq=False)
class _Waiting:
    """A text that waits for its answer.

    Attributes:
        question: the pipeline's arguments.
        tokens: of its longest window, once it was looked at.
        windows: that the model reads of it.
    """

    text: Text
    question: dict[str, Any]
    answer: Future
    since: float = field(default_factory=time.monotonic)
    tokens: int = 0
    windows: int = 0


class MicroBatcher:
    """Answers texts as they come in, those together that wait together.

    A batch begins with the text that has waited longest. Others with the same question join it, nearest in length
    first, as long as rows × tokens stay within the budget. A text of several windows is a batch of its own.

    Args:
        pipe: what answers; from now on only this thread may call it.
        batch_tokens: the budget, padding included.
    """

    def __init__(self, pipe: AttribTextClassificationPipeline, batch_tokens: int) -> None:
        self._pipe, self._budget = pipe, batch_tokens
        self._arrivals: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._count, self._counting = 0, threading.Lock()
        # A daemon: an interrupted server does not wait for the end of a long computation.
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Texts without an answer yet, those that nobody waits for any more included."""
        return self._count

    @property
    def alive(self) -> bool:
        """Whether anybody still answers."""
        return self._thread.is_alive()

    def submit(self, texts: Sequence[Text], question: Mapping[str, Any]) -> list[Future]:
        """One future a text, for what the pipeline answers to `[text]`; cancel those that nobody waits for.

        Args:
            texts: texts and pairs.
            question: arguments of the pipeline's call (`target`, `top_k` ...), with hashable values.

        Raises:
            OverloadedError: none of them was taken.
        """
        with self._counting:
            if self._count and self._count + len(texts) > _MOST_WAITING:
                raise OverloadedError(f"{self._count} texts wait already.")
            self._count += len(texts)
        waiting = [_Waiting(text, dict(question), Future()) for text in texts]
        for one in waiting:
            self._arrivals.put(one)
        return [one.answer for one in waiting]

    def stop(self, seconds: float) -> None:
        """End the thread behind what it is answering, and wait that long for it."""
        self._arrivals.put(None)
        self._thread.join(seconds)

    # On the model's thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        waiting: list[_Waiting] = []
        while self._gather(waiting):
            batch = self._take(waiting)
            if batch:
                self._answer(batch)

    def _gather(self, waiting: list[_Waiting]) -> bool:
        """Wait for a text, then a moment for others; False once the thread is to end."""
        while sum(one.tokens for one in waiting) < _LOOK_AHEAD * self._budget:
            timeout = max(0.0, waiting[0].since + PATIENCE - time.monotonic()) if waiting else None
            try:
                arrived = self._arrivals.get(timeout=timeout)
            except queue.Empty:
                return True
            if arrived is None:
                return False
            if self._look_at(arrived):
                waiting.append(arrived)
        return True

    def _look_at(self, one: _Waiting) -> bool:
        """Find out how long a text is; False if there is nothing left to do about it."""
        if one.answer.cancelled():
            self._done(1)
            return False
        try:
            windows = self._pipe.preprocess(one.text)["text"].windows
        except Exception as error:  # whatever a tokenizer says of a text is for its asker
            if one.answer.set_running_or_notify_cancel():
                one.answer.set_exception(error)
            self._done(1)
            return False
        one.windows, one.tokens = len(windows), max(len(window.places) for window in windows)
        return True

    def _take(self, waiting: list[_Waiting]) -> list[_Waiting]:
        """The next batch, out of those that wait; without those whose askers have gone."""
        first, longest = waiting[0], waiting[0].tokens
        batch = [first]
        if first.windows == 1:
            alike = [one for one in waiting[1:] if one.windows == 1 and one.question == first.question]
            for one in sorted(alike, key=lambda other: abs(other.tokens - first.tokens)):
                longest = max(longest, one.tokens)
                if longest * (len(batch) + 1) > self._budget:
                    break
                batch.append(one)
        taken = set(map(id, batch))
        waiting[:] = [one for one in waiting if id(one) not in taken]
        asked = [one for one in batch if one.answer.set_running_or_notify_cancel()]
        self._done(len(batch) - len(asked))
        return asked

    def _answer(self, batch: list[_Waiting]) -> None:
        """Give each its answer; what fails is asked again one by one, so that nobody pays for another's text."""
        texts = [one.text for one in batch]
        try:
            answers = self._pipe(texts, batch_size=len(texts), **batch[0].question)
        except Exception as error:  # the model's code and torch's may raise anything: the thread must live
            if len(batch) > 1:
                for one in batch:
                    self._answer([one])
                return
            batch[0].answer.set_exception(error)
        else:
            for one, answer in zip(batch, answers, strict=True):
                one.answer.set_result(answer)
        self._done(len(batch))

    def _done(self, texts: int) -> None:
        with self._counting:
            self._count -= texts
