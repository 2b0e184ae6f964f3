"""What an evaluation can be asked for: light to import, so that the command line knows it before anything is loaded."""

from dataclasses import dataclass, field

from ..terminal.errors import UserError


DEFAULT_METRICS = ("auac", "comprehensiveness", "sufficiency", "aopc")
KINDS = ("mask", "unk", "delete")  # of perturbation
UNITS = ("token", "word")  # that are removed at once


@dataclass(frozen=True)
class Columns:
    """Where a data set keeps what.

    Attributes:
        label: a column, "auto" for the column `label` if there is one, or "none".
        labels: names of the data's labels in the order of the model's labels; by default the model's own names.
    """

    text: str = "text"
    text_pair: str | None = None
    label: str = "auto"
    labels: tuple[str, ...] = ()
    rationale: str | None = None


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured, on which texts and how.

    Attributes:
        methods: names separated by commas; see `select_explainers`.
        metrics: names separated by commas; by default faithfulness, and plausibility where there is a rationale.
        limit: how many texts are drawn at random; all if None.
        perturbation, unit: what stands for removed tokens, and what is removed together; see `Perturbation`.
        batch_size: most texts that are explained, or measured, at once.
        budget: of LIME, KernelSHAP and integrated gradients; see `select_explainers`.
        special_tokens: whether [CLS] and [SEP] take part in AUAC and AU-MSE, as published.
    """

    methods: str = "cheap"
    metrics: str | None = None
    columns: Columns = field(default_factory=Columns)
    split: str = "test"
    limit: int | None = None
    max_length: int | None = None
    perturbation: str = "mask"
    unit: str = "token"
    seed: int = 0
    batch_size: int = 32
    budget: int | None = None
    special_tokens: bool = True

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "budget"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} {value}: it must be 1 at least.")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: it must not be negative.")
