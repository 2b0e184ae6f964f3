"""One process that measures the candidates of one environment; `speed.py` starts it with that environment's Python.

It reads one job (JSON) from standard input, and writes one event (JSON) a line: figures, or the reason for none.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import torch

from . import external  # noqa: F401  (enters its candidates)
from .candidates import CANDIDATES, SLOW, UNIT, Answer, Candidate, Explain, UnavailableError, plain_forward
from .measurement import measure_interleaved, peak_memory, time_call
from .workload import Batch, Workload


def entered(environment: str) -> dict[str, Candidate]:
    """The candidates of an environment; the unit is one in each."""
    unit = Candidate(UNIT, "forward", plain_forward, environment)
    return {UNIT: unit} | {name: c for name, c in CANDIDATES.items() if c.environment == environment}


@dataclass
class Worker:
    """Measures what one job asks for.

    Attributes:
        job: what `speed.py` asks for; of it "folder" (the workload's), "rounds", "slow_rounds", "budget" (seconds that
            one call may take).
        candidates: those to measure, the unit first.
        report: takes each event.
    """

    job: dict[str, Any]
    candidates: list[Candidate]
    report: Callable[[dict[str, Any]], None]
    workload: Workload
    built: dict[str, Explain | str] = field(default_factory=dict)
    last_ratio: dict[str, float] = field(default_factory=dict)

    def measure_times(self, texts: int, tokens: int) -> None:
        """Report the times of every candidate on one size, or why there are none."""
        batch = self.workload.batch(texts, tokens)
        reference = self._build(self.candidates[0])(batch)
        unit = self._first_seconds(self.candidates[0], batch, reference)
        groups: dict[bool, dict[str, float]] = {False: {UNIT: unit}, True: {UNIT: unit}}
        for candidate in self.candidates[1:]:
            try:
                self._check_cost(candidate, texts, unit)
                seconds = self._first_seconds(candidate, batch, reference)
            except UnavailableError as error:
                self.report({"texts": texts, "tokens": tokens, "candidate": candidate.name, "reason": str(error)})
                continue
            groups[seconds > SLOW * unit][candidate.name] = seconds
        for slow, expected in groups.items():
            if slow and len(expected) == 1:
                continue
            calls = {name: lambda explain=self.built[name]: explain(batch) for name in expected}
            rounds = self.job["slow_rounds" if slow else "rounds"]
            for name, figures in measure_interleaved(calls, UNIT, rounds, expected).items():
                self.last_ratio[name] = figures["ratio"]["median"]
                if not (slow and name == UNIT):
                    self.report({"texts": texts, "tokens": tokens, "candidate": name, "rounds": rounds} | figures)

    def measure_memory(self, texts: int, tokens: int) -> None:
        """Report the peak memory of the job's one candidate."""
        candidate = self.candidates[-1]
        event = {"texts": texts, "tokens": tokens, "candidate": candidate.name}
        batch = self.workload.batch(texts, tokens)
        try:
            explain = self._build(candidate)
            explain(batch if candidate.compiles else self.workload.batch(1, 8))
            event["memory"] = peak_memory(lambda: explain(batch))
        except Exception as error:
            event["reason"] = _one_line(error)
        self.report(event)

    def _build(self, candidate: Candidate) -> Explain:
        """The candidate, ready; whatever its library raises becomes a reason that is reported."""
        built = self.built.get(candidate.name) or candidate.missing()
        if built is None:
            try:
                built = candidate.build(self.workload)
            except Exception as error:
                built = _one_line(error)
            self.built[candidate.name] = built
        if isinstance(built, str):
            raise UnavailableError(built)
        return built

    def _check_cost(self, candidate: Candidate, texts: int, unit: float) -> None:
        ratio = self.last_ratio.get(candidate.name, 0.0)
        if texts > 1 and ratio > SLOW:
            raise UnavailableError(f"over {SLOW} {UNIT}: measured at batch 1 only")
        if ratio * unit > self.job["budget"]:
            budget = f"--budget is {self.job['budget']:g} s"
            raise UnavailableError(f"one call would take {ratio * unit:.0f} s or more; {budget}")

    def _first_seconds(self, candidate: Candidate, batch: Batch, reference: Answer) -> float:
        """Seconds of a warmed-up call, whose answer is checked."""
        explain = self._build(candidate)
        answers: list[Answer] = []
        try:
            seconds = time_call(lambda: answers.append(explain(batch))).wall
            _check_answer(candidate, answers[0], reference, batch)
            if candidate.compiles or seconds < 1:
                seconds = min(time_call(lambda: explain(batch)).wall for _ in range(3))
        except Exception as error:
            self.built[candidate.name] = _one_line(error)
            raise UnavailableError(self.built[candidate.name]) from None
        return seconds


def _check_answer(candidate: Candidate, answer: Answer, reference: Answer, batch: Batch) -> None:
    if answer.logits is not None:
        difference = (answer.logits.float() - reference.logits).abs().max().item()
        if not difference <= candidate.tolerance:
            raise UnavailableError(f"its logits differ from {UNIT}'s by {difference:.2g}")
    if candidate.role == "forward":
        return
    if len(answer.attributions) != len(batch.texts):
        raise UnavailableError(f"it explained {len(answer.attributions)} of {len(batch.texts)} texts")
    for scores in answer.attributions:
        if not torch.isfinite(torch.as_tensor(scores)).all():
            raise UnavailableError("its scores are not finite")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, UnavailableError) else f"{type(error).__name__}: {text}"


def _versions(candidates: list[Candidate]) -> dict[str, str]:
    """Distribution -> version of torch, transformers and what the candidates need, where installed."""
    known = packages_distributions()
    modules = {"torch", "transformers"}.union(*(candidate.modules for candidate in candidates))
    return {name: version(name) for module in sorted(modules) for name in known.get(module, [])[:1]}


def main() -> None:
    """Do the job on standard input."""
    job = json.load(sys.stdin)
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print is no event
    torch.set_num_threads(job["threads"])
    available = entered(job["environment"])
    chosen = [available[name] for name in job["candidates"]]
    workload = Workload.load(Path(job["folder"]))
    report = lambda event: print(json.dumps(event), file=events, flush=True)  # noqa: E731
    worker = Worker(job, chosen, report, workload, last_ratio=job["last_ratio"])
    worker.report({"versions": _versions(chosen)})
    for texts, tokens in job["sizes"]:
        measure = worker.measure_memory if job["memory"] else worker.measure_times
        measure(texts, tokens)


if __name__ == "__main__":
    main()
