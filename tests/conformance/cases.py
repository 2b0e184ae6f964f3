"""Random classifiers to ask, the texts that they are asked about, and the bare backbone to compare them with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoModelForTextEncoding, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from modeling_attrib import AttribForSequenceClassification
from tests.conformance.tiny_configurations import VOCABULARY
from tests.modeling_attrib.architectures import randomise


Inputs = dict[str, torch.Tensor]
Scores = tuple[torch.Tensor, torch.Tensor]  # logits (texts, labels), scores (texts, labels, tokens)

LABELS = 3
SHORT, LONG = 8, 11  # a multiple of the tiny windows and blocks, and not one
WORDS_AT = (0, 3, 4, 7)
BASELINE = 4  # a word that no text has: on the way from it, unlike from silence, a norm of the words sees each step
OPTIONS: dict[str, dict[str, Any]] = {"integrated_gradients": {"steps": 2, "baseline": BASELINE}}


class WrongAnswerError(AssertionError):
    """An answer that was given and does not hold."""


def texts(rows: int, tokens: int) -> Inputs:
    """Texts of one length."""
    ids = torch.randint(5, VOCABULARY - 1, (rows, tokens), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def padded() -> Inputs:
    """A short text padded beside a long one."""
    inputs = texts(2, LONG)
    inputs["attention_mask"][0, SHORT - 1 :] = 0
    return {"input_ids": inputs["input_ids"] * inputs["attention_mask"], "attention_mask": inputs["attention_mask"]}


def first_of(inputs: Inputs) -> Inputs:
    """The first text of a batch, alone and without its padding."""
    length = int(inputs["attention_mask"][0].sum())
    return {name: value[:1, :length] for name, value in inputs.items()}


# As many texts as tokens look right when they lie crosswise.
BATCHES = {"short": texts(2, SHORT), "long": texts(2, LONG), "padded": padded(), "square": texts(SHORT, SHORT)}

LONGER = texts(1, 64)  # of several windows and blocks: BigBird falls back to full attention below


@dataclass
class Case:
    """A classifier with random weights, and the bare backbone of transformers, in eager attention, to compare with."""

    model: AttribForSequenceClassification
    bare: nn.Module
    known: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def answer(self, method: str, batch: str) -> Scores:
        """What `explain` says of one of the `BATCHES`, asked once."""
        key = (method, self.model.config.pooling, batch)
        return self.once(key, lambda: explain(self.model, method, BATCHES[batch]))

    def once(self, key: tuple[str, ...], ask: Callable[[], Any]) -> Any:
        """What `ask` says, asked once under this key; of the classifier's own weights."""
        if key not in self.known:
            self.known[key] = ask()
        return self.known[key]

    @property
    def is_thorough(self) -> bool:
        """Whether questions are asked that no pooling changes."""
        return self.model.config.pooling == "mean"

    @property
    def tolerance(self) -> float:
        """Relative; most decoders' norms compute in float32, whatever their weights are."""
        return 1e-5 if self.model.dtype == torch.float64 else 2e-3


def build(config: Callable[[], PretrainedConfig], kernel: str, dtype: torch.dtype = torch.float64) -> Case:
    """A classifier whose own method reads nothing of a backbone, so that every one may come in.

    Args:
        config: makes the configuration anew: building writes to it.

    Raises:
        ValueError: if the backbone is refused as a whole.
    """
    torch.manual_seed(0)
    model = AttribForSequenceClassification.from_backbone(
        config(),
        attn_implementation=kernel,
        dtype=dtype,
        num_labels=LABELS,
        pooling="mean",
        attribution_method="random",
    )
    randomise(model)
    bare = bare_backbone(config(), dtype)
    bare.load_state_dict(model.backbone.state_dict(), strict=False)  # the classifier leaves out a pooler
    return Case(model, bare)


def bare_backbone(config: PretrainedConfig, dtype: torch.dtype) -> nn.Module:
    """What transformers builds of a configuration, in eager attention."""
    factory = AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel
    return factory.from_config(config, attn_implementation="eager").to(dtype).eval()


def computes_in(config: PretrainedConfig, dtype: torch.dtype) -> bool:
    """Whether transformers itself computes a backbone's states in this type."""
    try:
        with torch.no_grad():
            bare_backbone(config, dtype)(**texts(1, SHORT))
    except (RuntimeError, OverflowError):
        return False
    except Exception:  # refused or broken in any type
        return True
    return True


def kernel_of(case: Case) -> str:
    """What transformers says that the classifier's backbone runs."""
    return getattr(case.model.backbone.config, "_attn_implementation", None) or "eager"


@torch.no_grad()
def explain(model: nn.Module, method: str, inputs: Inputs) -> Scores:
    """Logits and scores toward every label."""
    output = model(
        **inputs, attribution_method=method, attribution_target="all", attribution_options=OPTIONS.get(method)
    )
    for name in ("logits", "attributions"):
        if not bool(torch.isfinite(output[name]).all()):
            raise WrongAnswerError(f"{name} are not finite numbers")
    return output.logits, output.attributions


@contextmanager
def other_weights(*models: nn.Module) -> Iterator[None]:
    """Gives models their weights and buffers back at the end."""
    tensors = [tensor for model in models for tensor in [*model.parameters(), *model.buffers()]]
    copies = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, copy in zip(tensors, copies):
                tensor.copy_(copy)


def leave_one_word(model: AttribForSequenceClassification) -> Inputs | None:
    """Silence the tables of positions and types, and all words but one; texts with it at each of `WORDS_AT`.

    Returns:
        None if something else than words is still heard where transformers' first hidden states are.
    """
    words = model.backbone.get_input_embeddings()
    word, silence = 7, 9
    with torch.no_grad():
        for table in _tables(model.backbone, words):
            table.zero_()
        kept = words.weight[word].clone()
        words.weight.zero_()
        words.weight[word] = kept
    ids = torch.full((len(WORDS_AT), SHORT), silence)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if not _is_silent(model, inputs):
        return None
    for text, place in enumerate(WORDS_AT):
        ids[text, place] = word
    return inputs


def _tables(backbone: nn.Module, words: nn.Module) -> Iterator[torch.Tensor]:
    for module in backbone.modules():
        named = any(part in type(module).__name__.lower() for part in ("embed", "position"))
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            table = isinstance(module, nn.Embedding) or (named and "norm" not in name.lower())
            # Of one row at least: Gemma's tables hold a factor beside it, and words would be silent without.
            if table and tensor.dim() >= 2 and tensor is not words.weight and tensor.is_floating_point():
                yield tensor


def word_tables(backbone: nn.Module) -> list[nn.Module]:
    """The modules that look words up: several share one table in T5."""
    table = backbone.get_input_embeddings()
    return [table, *(m for m in backbone.modules() if m is not table and getattr(m, "weight", None) is table.weight)]


def _is_silent(model: AttribForSequenceClassification, inputs: Inputs) -> bool:
    heard: list[torch.Tensor] = []
    tables = word_tables(model.backbone)
    handles = [table.register_forward_hook(lambda *call: heard.append(call[2])) for table in tables]
    accepted = {name: value for name, value in inputs.items() if name in model.backbone_arguments}
    try:
        with torch.no_grad():
            states = model.backbone(**accepted, output_hidden_states=True).get("hidden_states")
    finally:
        for handle in handles:
            handle.remove()
    return bool(heard) and float(heard[0].abs().max()) == 0 and (not states or float(states[0].abs().max()) < 1e-12)


def distance(one: torch.Tensor, other: torch.Tensor, at_least: float = 1e-12) -> float:
    """Largest difference, relative to the largest value, or to `at_least`."""
    one, other = one.detach().double(), other.detach().double()
    return float((one - other).abs().max() / other.abs().max().clamp(min=at_least))


def distance_of_scores(case: Case, one: torch.Tensor, other: Scores) -> float:
    """As `distance`, of scores. Where a norm makes scores zero (a first token's gradient × input in MiniMax), what
    rounding leaves of the logits is no score: some last digits of them do not count as a difference."""
    logits, scores = other
    rounding = 32 * torch.finfo(case.model.dtype).eps * float(logits.abs().max())
    return distance(one, scores, at_least=rounding / case.tolerance)
