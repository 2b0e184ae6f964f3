"""The table of architectures says what is true: every text model type is in it, and is as it says."""

from pathlib import Path

import pytest
import transformers

from tests.conformance import table
from tests.conformance.sweep import examine
from tests.conformance.text_models import NOT_TEXT, known_types, text_types


PAGE = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"
# One of each kind: encoders with norms behind and before sums, decoders, experts, other attention, refusals.
SAMPLE = (
    *("bert", "deberta-v2", "modernbert", "t5", "xlnet", "mobilebert"),
    *("llama", "gpt2", "gemma2", "mixtral", "gpt_oss", "bloom", "fnet", "bart", "big_bird", "longformer"),
)
PARTS = 8
VERSION = table.version(PAGE.read_text())
of_this_version = pytest.mark.skipif(
    transformers.__version__ != VERSION, reason="the table is of another transformers: make architectures"
)


@of_this_version
def test_every_model_type_is_in_the_table_or_reads_no_text():
    """A type that a new transformers brings is in neither: say in text_models.py that it reads no text, or make the
    table anew (`make architectures`)."""
    assert sorted(table.read(PAGE.read_text())) == text_types()


@of_this_version
def test_no_type_that_reads_no_text_is_unknown():
    assert {name for names in NOT_TEXT.values() for name in names.split()} <= set(known_types())


@pytest.mark.parametrize("model_type", SAMPLE)
def test_a_sample_holds_or_is_refused(model_type):
    if model_type not in known_types():
        pytest.skip("this transformers does not know it")
    rows = examine(model_type, poolings=("mean",))
    wrong = [f"{table.place(row)}: {row['reason']}" for row in rows if row["outcome"] not in table.FINE]
    assert not wrong
    if transformers.__version__ == VERSION:
        assert table.line(model_type, rows) == table.read(PAGE.read_text())[model_type]


@pytest.mark.slow
@of_this_version
@pytest.mark.parametrize(
    "model_type", [pytest.param(name, id=f"part{n % PARTS + 1}-{name}") for n, name in enumerate(text_types())]
)
def test_every_type_is_as_the_table_says(model_type):
    assert table.line(model_type, examine(model_type)) == table.read(PAGE.read_text())[model_type]
