"""Data sets whose terms limit what may be published of a model that learned from them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from ..data.sources import HUB_SOURCE
from ..terminal.errors import UserError


@dataclass(frozen=True)
class DataTerms:
    """What is known of a data set's terms.

    Attributes:
        name: as people call it.
        terms: what its card or home page says.
        source: the repository on the Hub whose card says it.
        licences: licences under which a model that learned from it may be public all the same, by how they begin.
    """

    name: str
    terms: str
    source: str
    licences: tuple[str, ...] = ()


_NO_LICENCE = "its card states no licence"
# By the data set's name in small letters and digits, which its copies on the Hub and on disks share.
DATA_TERMS = {
    "agnews": DataTerms(
        "AG News",
        "it is provided for research purposes and any other non-commercial activity",
        "fancyzhx/ag_news",
        ("cc-by-nc",),
    ),
    "sst2": DataTerms("SST-2", _NO_LICENCE, "stanfordnlp/sst2"),
    "imdb": DataTerms("IMDB", _NO_LICENCE, "stanfordnlp/imdb"),
    "movierationales": DataTerms("ERASER movies", _NO_LICENCE, "eraser-benchmark/movie_rationales"),
}
_ALIASES = {"erasermovies": "movierationales"}


def terms_of(recipes: list[dict[str, Any]]) -> list[DataTerms]:
    """The known terms of the data that these recipes train on, each once."""
    found = {}
    for source in (source for recipe in recipes for source in _training_sources(recipe)):
        for word in _names(source):
            key = _ALIASES.get(word, word)
            if key in DATA_TERMS:
                found[key] = DATA_TERMS[key]
    return list(found.values())


def check_terms(recipes: list[dict[str, Any]], license_id: str | None) -> None:
    """Refuse a model for the public that learned from data whose terms do not allow it.

    Args:
        recipes: of the classifier, and of its explanation head.
        license_id: the model's own, as the Hub spells it.

    Raises:
        UserError: naming the data set, its terms, and what may be done.
    """
    for terms in terms_of(recipes):
        if license_id is not None and license_id.startswith(terms.licences):
            continue
        ways = "".join(f", or choose a licence of its kind (--license {licence}-4.0)" for licence in terms.licences)
        raise UserError(
            f"the model learned from {terms.name}, and {terms.terms} (see {terms.source} on the Hub): "
            f"it is not published for all. Keep it --private{ways}."
        )


def _training_sources(recipe: dict[str, Any]) -> Iterator[str]:
    """What a recipe learns from; what it is graded on leaves nothing in the model."""
    explainer = recipe.get("explainer") or {}
    for section in (recipe.get("data"), *(explainer.get("tasks") or [])):
        if isinstance(section, dict) and isinstance(section.get("train"), str):
            yield section["train"]


def _names(source: str) -> Iterator[str]:
    """The names in a source: a Hub data set's, its configuration's, or those of a path."""
    path = PurePosixPath(PureWindowsPath(source).as_posix())
    match = HUB_SOURCE.fullmatch(source)
    on_hub = [] if match is None else [match["name"].rpartition("/")[2], match["config"]]
    for part in filter(None, [*path.parts[:-1], path.stem, *on_hub]):
        yield re.sub(r"[^a-z0-9]", "", part.lower())
