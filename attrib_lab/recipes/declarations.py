"""Keys that a class declares, read from its source: names, types, defaults and meanings, without importing a library.

Importing torch and transformers takes seconds; a misspelt argument should not wait for them.
"""

import ast
import importlib.util
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..terminal.errors import nearest


_ENTRY = re.compile(r"(?P<names>\w+(?:, \w+)*) ?(?:\(.*\))?:? *(?P<text>.*)")
# How a type is written -> the values that YAML gives for it, and how to ask for one.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a word"),
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "list": ((list,), "a list"),
    "dict": ((dict,), "a mapping"),
}


@dataclass(frozen=True)
class Key:
    """One key of a recipe.

    Attributes:
        kind: its type as the source writes it.
        default: its value where none is given; a string of code if the source computes it.
        meaning: in one sentence.
        choices: the values that it takes; empty if its type says all there is to say.
    """

    name: str
    kind: str
    default: Any
    meaning: str
    choices: tuple[Any, ...] = ()

    def fault(self, value: Any) -> str:
        """What is wrong with a value, `"is a number, not 'many'."`; empty if nothing is."""
        words = set(re.findall(r"\w+", re.sub(r"\[.*?\]+", "", self.kind.replace("Optional[", "None | "))))
        if value is None and words & {"None", "Any"}:
            return ""
        if self.choices:
            known = [str(choice).lower() for choice in self.choices]
            wrong = f"is {' or '.join(known)}, not {value!r}.{nearest(str(value), known)}"
            return "" if value in self.choices else wrong
        kinds = [_KINDS[word] for word in sorted(words & _KINDS.keys())]
        if not kinds or words - _KINDS.keys() - {"None"}:
            return ""  # a type of its owner's, who checks it
        for types, _ in kinds:
            if isinstance(value, types) and (not isinstance(value, bool) or bool in types):
                return ""
        return f"is {' or '.join(wanted for _, wanted in kinds)}, not {value!r}."


def package_folder(package: str) -> Path:
    """Where a top-level package is, which is not imported for that."""
    return Path(importlib.util.find_spec(package).origin).parent


def declared_keys(file: Path, name: str) -> dict[str, Key]:
    """The fields of a dataclass, or the arguments of a class's `__init__`, in their order.

    Meanings are from the class's docstring: its section Attributes, Args or Parameters.
    """
    tree = _syntax_tree(file)
    (node,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    meanings = _meanings(ast.get_docstring(node) or "")
    fields = [entry for entry in node.body if isinstance(entry, ast.AnnAssign)]
    init = next((entry for entry in node.body if getattr(entry, "name", None) == "__init__"), None)
    if init is None:
        found = [(entry.target.id, entry.annotation, entry.value) for entry in fields]
    else:
        arguments = init.args.args[1:]
        defaults = [None] * (len(arguments) - len(init.args.defaults)) + init.args.defaults
        found = [(one.arg, one.annotation, default) for one, default in zip(arguments, defaults)]
    return {
        name: Key(name, ast.unparse(kind), _value(default), meanings.get(name, ""))
        for name, kind, default in found
        if not ast.unparse(kind).startswith("ClassVar")
    }


def declared_values(file: Path, name: str) -> tuple[str, ...]:
    """The values of an enumeration, or of a constant, that a module declares; empty if it declares no such thing."""
    for node in _syntax_tree(file).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            values = [_value(entry.value) for entry in node.body if isinstance(entry, ast.Assign)]
            return tuple(value for value in values if isinstance(value, str))
        if isinstance(node, ast.Assign) and any(getattr(target, "id", None) == name for target in node.targets):
            return tuple(_value(node.value))
    return ()


def decorated_names(folder: Path, decorator: str) -> tuple[str, ...]:
    """The first argument of every `@decorator("name", ...)` in a folder's modules: a registry's names."""
    return tuple(
        call.args[0].value
        for file in sorted(folder.glob("*.py"))
        for node in _syntax_tree(file).body
        for call in getattr(node, "decorator_list", [])
        if isinstance(call, ast.Call) and getattr(call.func, "id", None) == decorator
    )


@lru_cache
def _syntax_tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _value(node: ast.expr | None) -> Any:
    """What an expression says, where it is a literal; of a dataclass's `field(...)`, its default."""
    if node is None:
        return None
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "field":
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        factory = given.get("default_factory")
        if factory is not None:
            return {"list": [], "dict": {}}.get(ast.unparse(factory), ast.unparse(factory))
        return _value(given.get("default"))
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _meanings(docstring: str) -> dict[str, str]:
    """The first sentence on each name in a docstring's list of names."""
    listed = re.split(r"^(?:Attributes|Args|Parameters):$", docstring, maxsplit=1, flags=re.MULTILINE)[-1]
    meanings: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in listed.splitlines():
        depth = len(line) - len(line.lstrip())
        if line.strip() and not depth:
            break  # the next section
        entry = _ENTRY.fullmatch(line.strip()) if depth == 4 else None
        if entry:
            lines = [entry["text"]]
            meanings |= dict.fromkeys(entry["names"].split(", "), lines)
        elif depth > 4:
            lines.append(line.strip())
    return {name: _first_sentence(" ".join(text)) for name, text in meanings.items()}


def _first_sentence(text: str) -> str:
    return re.split(r"(?<!\bi\.e)(?<!\be\.g)\. ", text.strip(), maxsplit=1)[0].rstrip(".:; ")
