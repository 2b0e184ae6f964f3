"""The evaluation of a model's explanations over a data set: explain, measure, compare; a killed run goes on."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from ..storage.files import write_whole, writing
from ..storage.folders import locked, replacing
from ..terminal.progress import Progress, say, track
from .classifiers import EvaluatedClassifier, load_classifier
from .costs import measure_costs
from .evaluation_report import print_report, write_report
from .explainers import Explainer, Explanation, explain_batch, select_explainers
from .fingerprints import settings_of
from .journal import Journal, check_settings
from .metrics import Metric, select_metrics
from .options import EvaluationOptions
from .perturbation import Perturbation
from .perturbation_runner import Measured, Measurement, NotMeasurable, PerturbationRunner, classifier_logits
from .results import Values, summarise
from .samples import load_sample
from .texts import EncodedText, batches_of, encode_text, mean_rationale_share


STATE, COSTS_FILE = "state", "cost.json"
_KIND = "an evaluation"
# Tokens of the texts in one batch; about a minute of work on one core, which is what a kill may cost. A text that is
# measured becomes some thirty perturbed_texts a method, an explained one a forward and a backward pass or two.
EXPLAINED_AT_ONCE, MEASURED_AT_ONCE = 1024, 256


def evaluate_model(model_dir: Path, source: str, output: Path, options: EvaluationOptions) -> dict[str, Any]:
    """Measure explanations of a model's decisions on texts, and write a report.

    Each method explains the label that the model predicts for the whole text, and for metrics that are defined on the
    gold label, that one too where it is another. Explanations and measurements are kept
    in `output/state` batch by batch: a run that was killed goes on there and gives the same results to the last byte,
    and a later run with more methods or metrics measures only those.

    Args:
        model_dir: what `train.py` left, or a folder of any sequence classifier of transformers.
        source: a file or a Hub id.
        output: a folder; made if need be.

    Returns:
        What `results.json` holds: see `summarise`.

    Raises:
        UserError: for anything that cannot be loaded, named or mixed with what `output` holds, or if another run is
            at work there.
    """
    with locked(output, _KIND):
        return _evaluate(model_dir, source, output, options)


def _evaluate(model_dir: Path, source: str, output: Path, options: EvaluationOptions) -> dict[str, Any]:
    classifier = load_classifier(model_dir)
    metrics = select_metrics(options.metrics, options.columns.rationale)
    explainers = select_explainers(options.methods, classifier, options.budget)
    perturbations = _perturbations(metrics, classifier, options)
    sample = load_sample(
        source, options.split, options.columns, classifier, options.limit, options.max_length, options.seed
    )
    state = output / STATE
    with writing(output):
        state.mkdir(parents=True, exist_ok=True)
    with (
        writing(output),
        closing(Journal(state / "attributions.jsonl")) as attributions,
        closing(Journal(state / "measurements.jsonl")) as measurements,
    ):
        check_settings(state / "settings.json", settings_of(classifier, sample.texts, explainers, asdict(options)))
        run = _Run(classifier, sample.texts, explainers, metrics, perturbations, options)
        costs = run.measure_costs(state / COSTS_FILE)
        run.explain(attributions)
        run.measure(attributions, measurements)
        values = Values.read(sample.texts, explainers, metrics, attributions.entries, measurements.entries)
    results = summarise(values, explainers, metrics, perturbations, sample, options.seed) | {
        "model": model_dir.resolve().name,
        "data": source,
        "accuracy": run.accuracy(),
        "options": asdict(options),
    }
    with replacing(output, _KIND) as new:
        write_report(results, costs, new)
    print_report(results, costs, output)
    return results


class _Run:
    """The work of one evaluation; what is in the journals already is not done again."""

    def __init__(
        self,
        classifier: EvaluatedClassifier,
        texts: list[EncodedText],
        explainers: list[Explainer],
        metrics: list[Metric],
        perturbations: dict[str, Perturbation],
        options: EvaluationOptions,
    ) -> None:
        self.classifier, self.texts, self.explainers, self.metrics = classifier, texts, explainers, metrics
        self.perturbations, self.seed = perturbations, options.seed
        self.max_length = options.max_length or classifier.token_limit
        self.batch_size = options.batch_size
        self._shown: set[tuple[str, ...]] = set()
        self.batches = batches_of(texts, self.batch_size, EXPLAINED_AT_ONCE)
        self.logits = classifier_logits(classifier.model, classifier.tokenizer)
        self.targets = self._predict()
        self.gold = [target if text.label is None else text.label for text, target in zip(texts, self.targets)]
        # Metrics that choose tokens choose as many as people marked on average.
        share = {"share": mean_rationale_share(texts) or 0.0}
        offered = share | {"special_tokens": options.special_tokens}
        self.choices = {
            m.name: {name: offered[name] for name in signature(m.measure).parameters if name in offered}
            for m in metrics
        }

    def _predict(self) -> list[int]:
        predicted = [0] * len(self.texts)
        for batch in track(self.batches, "predicting", "batches"):
            logits = self.logits([self.texts[place].unperturbed for place in batch])
            for place, label in zip(batch, logits.argmax(axis=1)):
                predicted[place] = int(label)
        return predicted

    def accuracy(self) -> float | None:
        """Share of right predictions among the texts that have a label."""
        right = [text.label == target for text, target in zip(self.texts, self.targets) if text.label is not None]
        return float(np.mean(right)) if right else None

    def measure_costs(self, file: Path) -> dict[str, dict[str, float]]:
        """Costs by method, measured once and kept in `file`; a method that fails has none."""
        costs = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        new = [explainer for explainer in self.explainers if explainer.name not in costs]
        parts = measure_costs(new, self.classifier, self.logits, self.texts, self.targets, self.seed) if new else ()
        for part in parts:
            costs |= {name: cost and cost.as_dict() for name, cost in part.items()}
            write_whole(file, json.dumps(costs, indent=2) + "\n")
        return costs

    def explain(self, attributions: Journal) -> None:
        """Every text by every method, for each label that some metric asks for."""
        done = {(entry["method"], entry["key"], entry["target"]) for entry in attributions.entries}
        portions = [(places, self.targets) for places in self.batches]
        if any(metric.explains_gold for metric in self.metrics):
            wrong = [place for place, target in enumerate(self.targets) if target != self.gold[place]]
            again = batches_of([self.texts[place] for place in wrong], self.batch_size, EXPLAINED_AT_ONCE)
            portions += [([wrong[number] for number in batch], self.gold) for batch in again]
        tokens = sum(len(self.texts[place].ids) for places, _ in portions for place in places)
        with Progress(len(self.explainers) * tokens, "explaining", "tokens") as progress:
            for places, targets in portions:
                for explainer in self.explainers:
                    if (explainer.name, self.texts[places[0]].key, targets[places[0]]) not in done:
                        attributions.append(list(self._explain(explainer, places, targets)))
                    progress.advance(sum(len(self.texts[place].ids) for place in places))

    def _explain(self, explainer: Explainer, places: list[int], labels: list[int]) -> Iterator[dict[str, Any]]:
        own = [place for place in places if not all(self.texts[place].special)]
        texts, targets = [self.texts[place] for place in own], [labels[place] for place in own]
        found = self._explain_batch(explainer, texts, targets) if own else ()
        explanations = dict(zip(own, found))
        for place in places:
            entry = {"key": self.texts[place].key, "method": explainer.name, "target": labels[place]}
            explanation = explanations.get(place)
            if explanation is None:
                yield entry | {"reason": "only special tokens"}
            elif explanation.scores is None:
                yield entry | {"reason": explanation.reason}
            else:
                yield entry | {"scores": explanation.scores}

    def measure(self, attributions: Journal, measurements: Journal) -> None:
        """Every explanation by every metric."""
        scores = {
            (entry["method"], entry["key"], entry["target"]): np.array(entry["scores"])
            for entry in attributions.entries
            if "scores" in entry
        }
        done = {(entry["method"], entry["metric"], entry["key"]) for entry in measurements.entries}
        runner = PerturbationRunner(self.logits)
        with Progress(sum(len(text.ids) for text in self.texts), "measuring", "tokens") as progress:
            for places in batches_of(self.texts, self.batch_size, MEASURED_AT_ONCE):
                # Measurements of one text stand together: they share many of their questions.
                asked = [
                    (self.texts[place], explainer, metric, self._explained(metric, place))
                    for place in places
                    for explainer in self.explainers
                    for metric in self.metrics
                    if (explainer.name, self.texts[place].key, self._explained(metric, place)) in scores
                    and (explainer.name, metric.name, self.texts[place].key) not in done
                ]
                if asked:
                    found = runner.run([self._measurement(*one, scores) for one in asked])
                    measurements.append([_entry(*one[:3], outcome) for one, outcome in zip(asked, found)])
                progress.advance(sum(len(self.texts[place].ids) for place in places))

    def _explained(self, metric: Metric, place: int) -> int:
        return (self.gold if metric.explains_gold else self.targets)[place]

    def _measurement(
        self, text: EncodedText, explainer: Explainer, metric: Metric, target: int, scores: dict[Any, np.ndarray]
    ) -> Measurement:
        own, options = scores[explainer.name, text.key, target], self.choices[metric.name]
        if metric.needs == "explainer":
            options = options | {"explain": lambda sources, label: self._explain_sources(explainer, sources, label)}
        return metric.measure(text, own, target, self.perturbations[metric.name], **options)

    def _explain_sources(
        self, explainer: Explainer, sources: list[tuple[str, ...]], label: int
    ) -> list[tuple[EncodedText, np.ndarray]]:
        """Other texts explained, for metrics that edit the text; see `stability`."""
        texts = [encode_text(one, self.classifier.tokenizer, max_length=self.max_length) for one in sources]
        found = list(self._explain_batch(explainer, texts, [label] * len(texts)))
        if any(explanation.scores is None for explanation in found):
            raise NotMeasurable("an edited text is not explained")
        return [(text, np.array(explanation.scores)) for text, explanation in zip(texts, found)]

    def _explain_batch(
        self, explainer: Explainer, texts: list[EncodedText], labels: list[int]
    ) -> Iterator[Explanation]:
        """What a method says of some texts; where a plug-in's own code fails is shown as it happens, place by place."""
        for text, explanation in zip(texts, explain_batch(explainer, self.classifier, texts, labels, self.seed)):
            place = explainer.name, *(line for line in explanation.frames.splitlines() if line.startswith("  File"))
            if explanation.frames and place not in self._shown:
                self._shown.add(place)
                say(f"{explainer.name} fails on the text {text.key}, here:\n{explanation.frames}", sys.stderr)
            yield explanation


def _entry(text: EncodedText, explainer: Explainer, metric: Metric, outcome: Any) -> dict[str, Any]:
    entry = {"key": text.key, "method": explainer.name, "metric": metric.name}
    if not isinstance(outcome, Measured):
        return entry | {"reason": str(outcome)}
    if not np.isfinite(outcome.value):
        return entry | {"reason": "the metric is not finite"}
    return entry | {"value": outcome.value} | ({"curve": outcome.curve} if outcome.curve else {})


def _perturbations(
    metrics: Iterable[Metric], classifier: EvaluatedClassifier, options: EvaluationOptions
) -> dict[str, Perturbation]:
    """What each metric removes and how: as its definition says, else as the user wishes."""
    return {
        metric.name: Perturbation.of(classifier.tokenizer, metric.perturbation or options.perturbation, options.unit)
        for metric in metrics
    }
