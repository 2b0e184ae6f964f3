"""What a recipe says: its sections and keys, with their types, defaults and meanings.

`keys.py` reads this file as text: the type of a key is checked, and the first sentence on it is what `--help` says.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class ModelSection:
    """What is trained. Keys beyond these are arguments of `AttribConfig`.

    Attributes:
        backbone: Hub id or folder of a pretrained encoder, or of the classifier that a head is to explain. For an
            encoder with fresh weights, a mapping of `model_type`, `tokenizer` (Hub id or folder of the encoder whose
            tokenizer and vocabulary it takes) and arguments of that type's configuration.
        max_length: longer texts are cut there, in tokens.
        attn_implementation: the attention kernel; none lets the backbone choose.
    """

    backbone: dict[str, Any] | str = "sentence-transformers/all-MiniLM-L6-v2"
    max_length: int = 128
    attn_implementation: str | None = None
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def tokenizer(self) -> str:
        """Hub id or folder that the tokenizer comes from."""
        return self.backbone if isinstance(self.backbone, str) else self.backbone["tokenizer"]


@dataclass
class DataSection:
    """What it is trained on.

    A source is a Hub dataset (`owner/name@split`, `owner/name:config@split`), a file (.csv, .tsv, .jsonl, .json,
    .parquet) or `newswire:COUNT`, the embedded demo.

    Attributes:
        train: source of what is learned from.
        validation: source of what each evaluation while training is on; by default a share of the training rows.
        test: source of what the finished model is graded on; by default the validation rows.
        validation_fraction: share of each label's training rows, held out where there is no validation source.
        text: column of the texts, or of lists of words, which are joined by spaces.
        text_pair: column of each text's pair.
        label: column of the labels, words or numbers.
        labels: label names in the order of their indices; otherwise taken from the data.
        train_rows, test_rows: use that many rows only, drawn with the seed.
        decontaminate: columns; training rows that share a value there with a test or validation row are dropped. Of
            texts, case, spaces and punctuation are not compared.
        explained_examples: how many test rows `explanations.html` shows.
    """

    train: str = ""
    validation: str | None = None
    test: str | None = None
    validation_fraction: float = 0.02
    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    labels: list[str] | None = None
    train_rows: int | None = None
    test_rows: int | None = None
    decontaminate: list[str] = field(default_factory=list)
    explained_examples: int = 12

    @property
    def texts(self) -> list[str]:
        """The columns that the model reads."""
        return [self.text] + ([self.text_pair] if self.text_pair else [])

    @property
    def text_columns(self) -> list[str]:
        """The columns of texts that every source must have; it needs `label` too."""
        return list(dict.fromkeys([*self.texts, *(column for column in self.decontaminate if column != self.label)]))


@dataclass
class TaskSection:
    """A task whose texts people have marked, and the classifier that reads them.

    Attributes:
        classifier: a model folder that `train.py` left; not changed.
        train, validation: sources, as in `DataSection`.
        text: column of the texts, or of lists of words.
        rationale: column of what people marked. That is [start, end) spans of a text's characters, or one 0 or 1 for
            each of a list's words.
        passage: cut long lists of words into passages of so many words.
        rows: learn from that many marked texts or passages only, drawn with the seed.
    """

    classifier: str = ""
    train: str = ""
    validation: str = ""
    text: str = "text"
    rationale: str = "rationale"
    passage: int | None = None
    rows: int | None = None


@dataclass
class ExplainerSection:
    """What `expnet`, the trained head of a finished classifier (`model.backbone`), learns from.

    Attributes:
        learns_from: an attribution method, or rationales. A method's scores for the texts of `data.train` it learns
            to give; rationales are what people marked in the texts of `tasks`.
        reads: what the head reads of each token: its "attention" patterns, or its "states" (see `AttribConfig`).
        tasks: where people's marks are learned from, one or more `TaskSection`s.
        rationale: column of `data.test` with what people marked there. A head that learns from rationales is to find
            it, and has never seen any of it.
    """

    learns_from: str = "lrp"
    reads: str = "attention"
    tasks: list[TaskSection] = field(default_factory=list)
    rationale: str = "rationale"

    def as_dict(self) -> dict[str, Any]:
        """The section in the layout of its YAML file."""
        return {**vars(self), "tasks": [dict(vars(task)) for task in self.tasks]}


@dataclass
class Recipe:
    """One training run: of a classifier, or with `explainer` of the head that explains a finished one.

    Attributes:
        output_dir: folder that the model goes to, with what is reported on it.
        model, data: what is trained, and on which data.
        training: arguments of transformers' `TrainingArguments`. `bf16: auto` uses bfloat16 where the device
            computes in it, and says so.
        seed: of everything that is drawn at random.
        early_stopping_patience: stop after so many evaluations without a better validation; none trains to the end.
        masked_training: share of each training batch whose tokens are masked at random rates, 0 to 1. For models
            that are to be graded by masking words (see `training/masking.py`).
        explainer: what the head learns from.
    """

    output_dir: str
    model: ModelSection
    data: DataSection
    training: dict[str, Any]
    seed: int = 0
    early_stopping_patience: int | None = None
    masked_training: float = 0.0
    explainer: ExplainerSection | None = None

    def as_dict(self) -> dict[str, Any]:
        """The recipe in the layout of its YAML file."""
        model = {k: v for k, v in vars(self.model).items() if k != "config"} | self.model.config
        explainer = {} if self.explainer is None else {"explainer": self.explainer.as_dict()}
        top = {key: value for key, value in vars(self).items() if key != "explainer"}
        return {**top, "model": model, "data": dict(vars(self.data)), **explainer}
