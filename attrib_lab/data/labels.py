"""Labels of rows: as their source means them, their names in order, and as indices of a model's labels."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from ..terminal.errors import UserError, nearest
from .tables import kind_of


# Without leading zeros, which are a code's; an empty cell makes 1.0, 2.0 of a column of whole numbers.
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))(?:\.0+)?")
_DECIMAL = re.compile(r"[-+]?\d+(?:\.\d*)?", re.ASCII)

Label = str | int | None


def read_labels(rows: Dataset, column: str, what: str) -> list[Label]:
    """The labels of rows: words without the spaces around them, whole numbers, indices of a ClassLabel; None is none.

    Prints a line if spaces around labels were left out.

    Args:
        what: the rows, for messages ("train").

    Raises:
        UserError: for a label that is no word and no number.
    """
    values = rows[column][:]
    labels = [_read(value, f"{what}, row {row}") for row, value in enumerate(values, 1)]
    if class_names(rows, column):
        return [None if label == -1 else label for label in labels]  # how the Hub writes that nobody said
    spaced = [value for value, label in zip(values, labels) if isinstance(label, str) and label != str(value)]
    if spaced:
        count = "1 label" if len(spaced) == 1 else f"{len(spaced)} labels"
        print(f"{what}: spaces around {count} are ignored: {spaced[0]!r} is {spaced[0].strip()!r}.")
    return labels


def _read(value: Any, place: str) -> Label:
    if value is None or value != value:  # NaN is not itself
        return None
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, (list, dict)):
        several = ": several labels for one text are not supported yet" if isinstance(value, list) else ""
        shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
        raise UserError(f"{place}: the label is {kind_of(value)}, {shown}{several}; give each row one word or number.")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else str(value)


def class_names(rows: Dataset, column: str) -> list[str]:
    """The names of a ClassLabel column; an empty list for any other column."""
    return list(getattr(rows.features[column], "names", None) or [])


def name_labels(labels: Sequence[Label], what: str) -> list[str]:
    """The distinct labels as names: whole numbers in their order, anything else in the alphabet's.

    Prints a line if names differ in their spelling alone: whether they mean one class, only a person can tell.

    Args:
        what: the rows, for messages.
    """
    distinct = {label for label in labels if label is not None}
    numbers = [whole_number(label) for label in distinct]
    if None not in numbers:
        return [str(number) for number in sorted(set(numbers))]
    names = sorted({str(label) for label in distinct})
    alike = defaultdict(list)
    for name in names:
        alike[_without_spelling(name)].append(repr(name))
    groups = [group for group in alike.values() if len(group) > 1]
    if groups:
        more = f" (so do {len(groups) - 1} more)" if len(groups) > 1 else ""
        print(
            f"{what}: the labels {' and '.join(groups[0])} differ in spelling alone{more} and are classes of their "
            "own: spell them alike where they mean one."
        )
    return names


def say_single_labels(labels: Sequence[Label], what: str) -> None:
    """Print a line on words that label one row alone, among labels of several rows: misspelt, or hardly learnt."""
    counts = Counter(str(label) for label in labels)
    single = sorted(name for name, count in counts.items() if count == 1 and whole_number(name) is None)
    if not single or len(single) > len(counts) / 2:
        return
    others = [name for name, count in counts.items() if count > 1]
    named = ", ".join(repr(name) for name in single[:3]) + (" ..." if len(single) > 3 else "")
    print(f"{what}: one row alone has the label {named}.{nearest(single[0], others)}")


def _without_spelling(name: str) -> str | float:
    """What is left of a name without case, spaces, width and accents' coding; of a number, its value."""
    if _DECIMAL.fullmatch(name):
        return float(name)
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def whole_number(label: Label) -> int | None:
    """The number that a label is, or None if it is a word ("007" is one, "1.0" is 1)."""
    match = _WHOLE.fullmatch(str(label))
    return int(match[1]) if match else None


def _spellings(label: Label) -> list[str]:
    """How a label may be spelt among the names: as it is, and as the number that it is."""
    number = whole_number(label)
    return [str(label)] if number is None else [str(label), str(number)]


def encode_labels(
    labels: Sequence[Label], known: Sequence[str], own: Sequence[str], by_position: bool, what: str
) -> list[int | None]:
    """Labels as indices of the known names; None where a row has none.

    A label that is none of the names is the index of one, where `by_position` says so. A source that names classes
    itself is read by these names where the known ones have them, and else as `by_position` says.

    Prints a line if a label is read as the whole number that it is ("1.0" as "1").

    Args:
        labels: what `read_labels` gave.
        own: the source's own names of its classes, if it has any.
        what: the rows, for messages.

    Raises:
        UserError: for a label that is none of them.
    """
    index = {name: position for position, name in enumerate(known)}
    by_name = set(own) <= index.keys() or not by_position

    def encode(label: str | int) -> int | None:
        number = whole_number(label)
        if own and not by_name:
            return number if number in range(len(known)) else None
        for name in [own[label]] if own else _spellings(label):
            if name in index:
                return index[name]
        return number if by_position and number in range(len(known)) else None

    found = [None if label is None else encode(label) for label in labels]
    for row, (label, place) in enumerate(zip(labels, found), 1):
        if label is not None and place is None:
            name = own[label] if own and by_name else str(label)
            counting = " (numbers count from 0)" if by_position and whole_number(label) is not None else ""
            raise UserError(
                f"{what}, row {row}: the label {name!r} is none of {', '.join(known)}{counting}."
                + nearest(name, list(known))
            )
    if own:
        return found
    given = [(label, place) for label, place in zip(labels, found) if label is not None]
    if by_position:
        _refuse_mixture([label for label, _ in given], index, what)
    respelt = [(str(label), known[place]) for label, place in given if known[place] in _spellings(label)[1:]]
    respelt = [(label, name) for label, name in respelt if label != name]
    if respelt:
        label, name = respelt[0]
        print(f"{what}: {len(respelt)} labels are read as whole numbers: {label!r} is {name!r}.")
    return found


def _refuse_mixture(labels: Sequence[str | int], index: dict[str, int], what: str) -> None:
    """Numbers may be names or positions, but not the one here and the other there: two labels would become one."""
    named = {label: not index.keys().isdisjoint(_spellings(label)) for label in labels}
    by_name = next((label for label, is_name in named.items() if is_name), None)
    by_place = next((label for label, is_name in named.items() if not is_name), None)
    if by_name is not None and by_place is not None:
        raise UserError(
            f"{what}: {str(by_name)!r} is one of the names {', '.join(index)}, and {str(by_place)!r} only the number "
            "of one, counted from 0: which of them the labels are cannot be told."
        )
