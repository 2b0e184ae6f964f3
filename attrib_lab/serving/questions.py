"""What a request may ask, read from JSON: each mistake is one sentence for whoever made it.

The body is the one that Inference Endpoints take: `{"inputs": ..., "parameters": {...}}`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StrictInt, WithJsonSchema

from ..terminal.errors import nearest
from .limits import Limits
from .micro_batching import Text


class RefusedError(Exception):
    """A request that is not answered: an HTTP status, and one sentence that says why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def _is_text(value: Any) -> bool:
    if not isinstance(value, dict):
        return isinstance(value, str)
    pair = value.get("text"), value.get("text_pair")
    return value.keys() <= {"text", "text_pair"} and isinstance(pair[0], str) and isinstance(pair[1], str | None)


def _read_inputs(value: Any) -> Any:
    # By hand: a list of a million numbers would get as many objects of pydantic's to say what is wrong with each.
    if not all(map(_is_text, value if isinstance(value, list) else [value])):
        raise ValueError('inputs is a text, a pair {"text": ..., "text_pair": ...}, or a list of these.')
    return value


_PAIR = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "text_pair": {"type": ["string", "null"]}},
    "required": ["text"],
    "additionalProperties": False,
}
_ONE = [{"type": "string"}, _PAIR]
_INPUTS = {"anyOf": [*_ONE, {"type": "array", "items": {"anyOf": _ONE}}], "description": "A text, a pair, or a list."}


# Bounded: a refusal quotes what was sent, and looks for a name near to it.
_Label = Annotated[StrictInt, Field(ge=0, lt=10**6)] | Annotated[str, Field(max_length=500)]


class Parameters(BaseModel):
    """How the words are to be explained; what is left out is as the pipeline has it."""

    model_config = ConfigDict(extra="forbid")

    target: _Label | None = Field(None, description="label (name or index) to explain, not the predicted one")
    contrast: _Label | None = Field(None, description="label to explain against: why the one and not this")
    method: str | None = Field(None, max_length=100, description="attribution method; the model's own by default")
    top_k: Annotated[StrictInt, Field(ge=1, lt=10**6)] | None = Field(1, description="labels to answer; null: all")
    aggregation: Literal["word", "token", "sentence"] = Field("word", description="what gets a score of its own")


class ExplainRequest(BaseModel):
    """Texts, and what is asked about them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"inputs": "Stocks rally as oil falls", "parameters": {"contrast": "World"}}},
    )

    inputs: Annotated[Any, PlainValidator(_read_inputs), WithJsonSchema(_INPUTS)]
    parameters: Parameters = Field(default_factory=Parameters)

    @property
    def question(self) -> dict[str, Any]:
        """The pipeline's arguments: what was said, and nothing else."""
        return self.parameters.model_dump(exclude_unset=True)


class Attribution(BaseModel):
    """A word of a text, or a token or sentence, and its score."""

    word: str = Field(description="text[start:end]")
    start: int
    end: int
    score: float = Field(description="above 0: for the label explained; below: against it")
    sequence: Literal["text", "text_pair"] | None = Field(None, description="of a pair: which of the two")
    token: str | None = Field(None, description="as the tokenizer has it, where tokens were asked for")
    special: bool | None = Field(None, description="whether that token stands for no word")


class Result(BaseModel):
    """A label of a text. Attributions + special_score + residual = the explained label's logit."""

    label: str
    score: float = Field(description="the label's probability, as the stock pipeline has it")
    attributions: list[Attribution]
    special_score: float = Field(description="what fell on tokens that stand for no word")
    residual: float = Field(description="what no token accounts for")
    target: str | None = Field(None, description="the label explained, where one was asked for")
    contrast: str | None = Field(None, description="the label explained against, where one was asked for")


Answer = Result | list[Result] | list[list[Result]]


def check_size(texts: Sequence[Text], limits: Limits) -> None:
    """Refuse more than one request may hold.

    Raises:
        RefusedError: 422, with what there is and what is allowed.
    """
    if len(texts) > limits.texts:
        raise RefusedError(422, f"{len(texts):,} texts in one request: {limits.texts:,} are allowed.")
    for number, text in enumerate(texts):
        size = len(text) if isinstance(text, str) else sum(len(part or "") for part in text.values())
        if size > limits.characters:
            raise RefusedError(
                422, f"text {number} has {size:,} characters: {limits.characters:,} are allowed; give it in parts."
            )


def sentence_of(errors: Sequence[Any]) -> str:
    """The first of pydantic's errors about a body, in one sentence."""
    error = errors[0]
    place = [str(part) for part in error["loc"][1:]]
    if error["type"] == "json_invalid":
        return f"the body is no JSON: {error['ctx']['error']}."
    if not place:
        return 'send JSON, {"inputs": ..., "parameters": {...}}, with the header Content-Type: application/json.'
    if error["type"] == "missing":
        return f"the body has no {place[0]!r}."
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        known = Parameters if place[0] == "parameters" and len(place) > 1 else ExplainRequest
        name = place[-1][:100]
        return f"unknown entry {name!r}.{nearest(name, list(known.model_fields))}"
    said = [one["msg"] for one in errors if one["loc"][1:3] == error["loc"][1:3]]  # one for each type it may have
    return f"{'.'.join(place[:2])}: {', or '.join(said)}."
