"""Whatever the stock pipeline reads, this one reads, with the same labels and scores; and what it should read."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from pipelines import build, total
from torch.utils.data import Dataset, IterableDataset
from transformers import TextClassificationPipeline
from transformers.pipelines.pt_utils import KeyDataset, KeyPairDataset

from modeling_attrib import AttribTextClassificationPipeline


TEXTS = ["Oil falls", "Stocks rise as oil falls", "", "A rocket"]
ROWS = [
    {"text": "Oil falls"},
    {"text": "Stocks rise", "text_pair": "Oil falls"},
    {"text": "A rocket", "text_pair": None},
]
COLUMNS = {"label": "Business", "id": 7, "text_length": None}  # what else stands in a data set's row


class Rows(Dataset):
    """Has a length and answers every index, as many do: nothing but the length says where it ends."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index % len(self.rows)]


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[str]:
        return iter(TEXTS)


@pytest.fixture(scope="module")
def pipe(minilm_folder: str) -> AttribTextClassificationPipeline:
    return build(minilm_folder)


@pytest.fixture(scope="module")
def stock(pipe: AttribTextClassificationPipeline) -> TextClassificationPipeline:
    return TextClassificationPipeline(model=pipe.model, tokenizer=pipe.tokenizer, device="cpu")


def answers(results: Any) -> list[tuple[str, float]]:
    """Labels and scores, of no more than ten results: a pipeline that loops must not hang the tests."""
    results = [results] if isinstance(results, dict) else itertools.islice(results, 10)
    return [(result["label"], pytest.approx(result["score"], abs=1e-6)) for result in results]


STOCK_KINDS: dict[str, Callable[[], Any]] = {
    "text": lambda: TEXTS[0],
    "list": lambda: TEXTS,
    "pair": lambda: ROWS[1],
    "row": lambda: ROWS[0],
    "rows": lambda: ROWS,
    "generator": lambda: (text for text in TEXTS),
    "generator of rows": lambda: (row for row in ROWS),
    "map-style dataset": lambda: Rows(TEXTS),
    "map-style dataset of rows": lambda: Rows(ROWS),
    "iterable dataset": Stream,
    "KeyDataset": lambda: KeyDataset(Rows(ROWS), "text"),
    "KeyPairDataset": lambda: KeyPairDataset(Rows(ROWS[1:2]), "text", "text_pair"),
    "tokenizer's arguments beside the text": lambda: {"text": "Stocks rise again", "truncation": True, "max_length": 3},
}


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("kind", STOCK_KINDS)
def test_what_the_stock_pipeline_reads(pipe, stock, kind, batch_size):
    ours, theirs = pipe(STOCK_KINDS[kind](), batch_size=batch_size), stock(STOCK_KINDS[kind]())
    assert type(ours) is type(theirs)
    assert answers(ours) == answers(theirs)


# The stock pipeline answers a tuple's first text alone and raises for the others.
OTHER_KINDS: dict[str, Callable[[], Any]] = {
    "tuple": lambda: tuple(TEXTS),
    "iterator": lambda: iter(TEXTS),
    "map": lambda: map(str, TEXTS),
    "dictionary's values": lambda: dict(enumerate(TEXTS)).values(),
}


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_collections_of_texts(pipe, stock, kind, batch_size):
    assert answers(pipe(OTHER_KINDS[kind](), batch_size=batch_size)) == answers(stock(TEXTS))


def test_a_table_of_the_datasets_library(pipe, stock):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list([{"text": text, "label": 0} for text in TEXTS])
    for kind in (table, table["text"], KeyDataset(table, "text"), table.to_iterable_dataset()):
        assert answers(pipe(kind, batch_size=2)) == answers(stock(TEXTS))


def test_nothing_gives_nothing(pipe):
    assert pipe([]) == pipe(()) == list(pipe(iter([]))) == []


def test_a_stream_is_read_as_it_is_asked_for(pipe):
    taken = []
    results = pipe(taken.append(text) or text for text in itertools.repeat("Oil falls"))
    next(iter(results))
    assert len(taken) <= 3


@pytest.mark.parametrize(
    "row", [{"text": "Oil", "textpair": "gas"}, {"text": "Oil", "text-pair": "gas"}, {"txt": "Oil"}]
)
def test_a_misspelt_pair_is_refused(pipe, row):
    with pytest.raises(ValueError, match="a pair is written"):
        pipe(row)


def test_texts_of_different_inputs_do_not_share_a_batch(pipe):
    rows = [{"text": "Oil falls"}, {"text": "Stocks rise", "return_token_type_ids": False}]
    for several in (rows, rows[::-1]):
        with pytest.raises(ValueError, match="need the same inputs"):
            pipe(several, batch_size=2)
        assert len(pipe(several)) == 2


@pytest.mark.parametrize("batch_size", [1, 4])
def test_texts_of_every_length_in_one_batch(pipe, batch_size):
    texts = [
        "", "  \t\n", "👩\u200d👩\u200d👧", "stocks rise " * 300, "Oil falls",
        {"text": "Is this about oil?", "text_pair": "stocks rise " * 300},
        {"text": "stocks rise " * 300, "text_pair": ""},
    ]  # fmt: skip
    alone = [pipe(text, attributions=False) for text in texts]
    for text, result, plain in zip(texts, pipe(texts, batch_size=batch_size, function_to_apply="none"), alone):
        assert result["label"] == (plain if isinstance(text, dict) else plain[0])["label"]
        assert total(result) == pytest.approx(result["score"], abs=1e-3)


def test_a_hundred_thousand_characters(pipe):
    text = "international government " * 4_000
    assert len(text) == 100_000
    words = [entry["word"] for entry in pipe(text, batch_size=4)[0]["attributions"]]
    assert words == ["international", "government"] * 4_000


def test_a_row_that_is_no_text_is_refused(pipe):
    for row in (torch.zeros(3), ["Oil", "gas", "wind"], ("Oil", "gas"), b"Oil", 7):
        with pytest.raises(ValueError, match="expected a text"):
            list(pipe(Rows([row])))


class Table:
    """What of a pandas DataFrame is read here: iterating over one gives the names of its columns."""

    def __iter__(self) -> Iterator[str]:
        return iter(["id", "body"])

    def iterrows(self) -> Iterator[Any]:
        return iter([(0, {"id": 1, "body": "Oil falls"})])


def test_a_table_is_not_answered_for_the_names_of_its_columns(pipe):
    with pytest.raises(ValueError, match="a table is no list of texts"):
        pipe(Table())


def test_a_text_that_is_not_to_be_truncated_is_read_in_windows(pipe):
    text = "Stocks rise as oil falls. " * 120
    expected, found = pipe(text), pipe(text, truncation="do_not_truncate")
    assert found == expected
