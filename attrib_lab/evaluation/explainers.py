"""Explainers under evaluation: this project's methods, captum's methods, and plug-ins, all called in one way."""

import importlib
import importlib.util
import inspect
import os
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeling_attrib import list_attribution_methods
from modeling_attrib.attribution_methods import get_attribution_method

from ..terminal.errors import UserError, first_line, nearest
from ..terminal.tracebacks import user_frames
from . import captum_methods
from .classifiers import Batch, EvaluatedClassifier
from .texts import EncodedText


CHEAP = 3.0  # forward passes: "cheap" methods cost less
CAPTUM_MISSING = "captum's methods need captum: pip install captum"

Explain = Callable[[EvaluatedClassifier, Batch, Sequence[EncodedText]], Any]


@dataclass(frozen=True)
class Explainer:
    """One method as it is called here.

    Attributes:
        source: the paper or package that it comes from.
        explain: (classifier, batch, texts) -> scores (batch, tokens), a tensor or array; what stands at special
            tokens and padding is the method's business.
        fingerprint: of the code of a plug-in, whose results do not outlive a change of it; else empty.
        file: of the module of a plug-in; else empty.
    """

    name: str
    source: str
    explain: Explain
    fingerprint: str = ""
    file: str = ""


@dataclass(frozen=True)
class Explanation:
    """Scores of one text's tokens, (tokens,), or the reason why there are none.

    Attributes:
        frames: where in a plug-in's own code it failed, as Python prints it; empty if it did not.
    """

    scores: tuple[float, ...] | None
    reason: str | None = None
    frames: str = ""


# Names -> explainers ------------------------------------------------------------------------------------------------


def select_explainers(names: str, classifier: EvaluatedClassifier, budget: int | None = None) -> list[Explainer]:
    """The explainers that a comma-separated list names, in its order.

    `cheap` stands for this project's methods of less than three forward passes, `all` for its methods and captum's;
    any other name is a method or a plug-in `package.module:function`, a function (model, batch) -> scores.

    Args:
        budget: samples of LIME and KernelSHAP, steps of integrated gradients; None for each method's own default.

    Raises:
        UserError: for an unknown name, a plug-in that cannot be imported, a method that this model or this
            installation cannot run, or no name at all.
    """
    own = {method["name"]: method for method in list_attribution_methods()}
    trained_head = getattr(classifier.model, "expnet", None) is not None
    chosen: list[str] = []
    for name in filter(None, (name.strip() for name in names.split(","))):
        if name in ("cheap", "all"):
            chosen += [member for member in _group(name, own, classifier) if member != "expnet" or trained_head]
        else:
            chosen.append(name)
    if not chosen:
        raise UserError("--methods names no method.")
    return [_explainer(name, own, classifier, budget) for name in dict.fromkeys(chosen)]


def _group(name: str, own: dict[str, dict[str, Any]], classifier: EvaluatedClassifier) -> list[str]:
    if name == "cheap":
        if not classifier.explains:
            raise UserError(
                f"'cheap' stands for methods of this project, which need a model that train.py left, not a "
                f"{type(classifier.model).__name__}; here there are: {', '.join(captum_methods.METHODS)}, and plug-ins."
            )
        return [method for method, entry in own.items() if entry["cost"] < CHEAP]
    group = list(own) if classifier.explains else []
    if importlib.util.find_spec("captum") is None:
        print(f"'all' is without {', '.join(captum_methods.METHODS)}: {CAPTUM_MISSING}.")
    else:
        group += captum_methods.METHODS
    if not group:
        raise UserError(f"there is nothing to compare: {CAPTUM_MISSING}.")
    return group


def _explainer(
    name: str, own: dict[str, dict[str, Any]], classifier: EvaluatedClassifier, budget: int | None
) -> Explainer:
    if name in own:
        if not classifier.explains:
            raise UserError(
                f"the method {name!r} needs a model that train.py left, not a {type(classifier.model).__name__}; "
                f"here there are: {', '.join(captum_methods.METHODS)}, and plug-ins package.module:function."
            )
        return Explainer(name, own[name]["paper"], _own_method(name, budget))
    if name in captum_methods.METHODS:
        if importlib.util.find_spec("captum") is None:
            raise UserError(f"{name}: {CAPTUM_MISSING}.")
        method = captum_methods.METHODS[name]
        return Explainer(name, method.source(budget), method.with_budget(budget))
    if ":" in name:
        return _plug_in(name)
    known = [*own, *captum_methods.METHODS]
    raise UserError(
        f"unknown method {name!r}; there are: {', '.join(known)}; cheap, all; and plug-ins package.module:function."
        + nearest(name, known)
    )


def _own_method(name: str, budget: int | None) -> Explain:
    takes_steps = "steps" in inspect.signature(get_attribution_method(name).function).parameters
    options = {"steps": budget} if takes_steps and budget is not None else {}

    def explain(classifier: EvaluatedClassifier, batch: Batch, texts: Sequence[EncodedText]) -> torch.Tensor:
        with torch.no_grad():
            return classifier.model(**batch, attribution_method=name, attribution_options=options).attributions

    return explain


def _plug_in(name: str) -> Explainer:
    """The explainer `package.module:function`.

    Its fingerprint covers the module's own file only: what that imports may change unseen, and is then measured
    together with what was measured before.

    Raises:
        UserError: for a module that cannot be imported, or has no such function.
    """
    module_name, _, attribute = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:  # a script's path starts at its own folder, not at the user's
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever the user's module does on import
        why = "it ends the program" if isinstance(error, SystemExit) else first_line(error)
        frames = user_frames(error)
        raise UserError(f"plug-in {name!r}: {module_name} cannot be imported: {why}", frames) from None
    function = getattr(module, attribute, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserError(f"plug-in {name!r}: {module_name} has no function {attribute!r}.{nearest(attribute, known)}")
    file = getattr(module, "__file__", None) or ""
    fingerprint = sha256(Path(file).read_bytes()).hexdigest()[:16] if file else ""

    def explain(classifier: EvaluatedClassifier, batch: Batch, texts: Sequence[EncodedText]) -> Any:
        return function(classifier.model, {key: value.clone() for key, value in batch.items()})

    return Explainer(name, f"plug-in {module_name}", explain, fingerprint, file)


# Explaining a batch -------------------------------------------------------------------------------------------------


def explain_batch(
    explainer: Explainer,
    classifier: EvaluatedClassifier,
    texts: Sequence[EncodedText],
    targets: Sequence[int],
    seed: int,
) -> list[Explanation]:
    """Scores for every text, or the reason why there are none; what a method gets wrong is its own texts' loss.

    A batch that fails as a whole is tried again text by text. Random numbers are seeded by the texts, so that a batch
    gives the same scores whatever ran before it.
    """
    try:
        with _seeded(seed, [explainer.name, *(text.key for text in texts)]):
            return _explain_together(explainer, classifier, texts, targets)
    except (Exception, SystemExit) as error:  # a method, above all a plug-in, may raise anything
        if len(texts) == 1:
            reason = f"raised {type(error).__name__}: {_shortened(first_line(error))}"
            return [Explanation(None, reason, user_frames(error, explainer.file))]
    return [explain_batch(explainer, classifier, [text], [target], seed)[0] for text, target in zip(texts, targets)]


def _explain_together(
    explainer: Explainer, classifier: EvaluatedClassifier, texts: Sequence[EncodedText], targets: Sequence[int]
) -> list[Explanation]:
    batch = classifier.collate(texts) | {"attribution_target": torch.tensor(targets, device=classifier.device)}
    try:
        scores = explainer.explain(classifier, batch, texts)
    finally:
        # A plug-in may have called backward() or train().
        classifier.model.zero_grad(set_to_none=True)
        classifier.model.eval()
    if isinstance(scores, torch.Tensor):
        scores = scores.detach().to("cpu", torch.float64).numpy()
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != tuple(batch["input_ids"].shape):
        raise ValueError(f"scores of shape {scores.shape}, not {tuple(batch['input_ids'].shape)}")
    return [_explanation(row[: len(text.ids)], text) for row, text in zip(scores, texts)]


def _explanation(scores: np.ndarray, text: EncodedText) -> Explanation:
    if not np.isfinite(scores[~np.array(text.special)]).all():
        return Explanation(None, "returned scores that are not finite")
    # Nine digits hold every float32; what is measured is what the journal says. NaN at [CLS] or [SEP] means nothing.
    return Explanation(tuple(float(f"{score:.9g}") for score in np.nan_to_num(scores, posinf=0.0, neginf=0.0)))


def _shortened(line: str, width: int = 160) -> str:
    """What a method says is shown in terminals and reports: no control characters, no page."""
    line = "".join(character if character.isprintable() else " " for character in line)
    return line if len(line) <= width else line[: width - 1] + "…"


@contextmanager
def _seeded(seed: int, names: Sequence[str]) -> Any:
    """Python's, numpy's and torch's random numbers start anew here, and go on afterwards where they were."""
    own = int.from_bytes(sha256("\n".join([str(seed), *names]).encode()).digest()[:4], "big")
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(own)
        random.seed(own)
        np.random.seed(own)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
