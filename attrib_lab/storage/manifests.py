"""Manifests: what this package wrote into a folder; whatever else is there is the user's own."""

import hashlib
import json
from pathlib import Path

from .files import flush_tree, write_whole


MANIFEST = ".attrib-files.json"  # what was written here, and its SHA-256: whatever else the folder holds is the user's
MODEL = "a trained model"
_WEIGHTS = ("*.safetensors", "*.bin")


def write_manifest(folder: Path, kind: str) -> None:
    """Note every file that `folder` holds now as written by this package, and flush them first.

    Args:
        folder: complete but for this note, which makes it so.
        kind: what it is, in words: "a trained model".
    """
    flush_tree(folder)
    digests = {name: _digest(folder / name) for name in _entries(folder)}
    written = {name: digest for name, digest in digests.items() if digest is not None}
    write_whole(folder / MANIFEST, json.dumps({"kind": kind, "files": written}, indent=1, sort_keys=True) + "\n")


def kind_of(folder: Path) -> str | None:
    """What `folder` holds, in words: what this package noted of it, or a model, whoever saved it; else None."""
    noted = _read_manifest(folder)[0]
    saved = (folder / "config.json").is_file() and any(file for form in _WEIGHTS for file in folder.glob(form))
    return MODEL if noted is None and saved else noted


def is_complete(folder: Path) -> bool:
    """Whether all that `write_manifest` noted in `folder` is still there as it was."""
    kind, written = _read_manifest(folder)
    return kind is not None and all(_digest(folder / name) == digest for name, digest in written.items())


def foreign_entries(folder: Path) -> list[str]:
    """Files in `folder` that this package did not write, or that were changed since, and empty folders, sorted."""
    _, written = _read_manifest(folder)
    return [name for name in _entries(folder) if name not in written or written[name] != _digest(folder / name)]


def _read_manifest(folder: Path) -> tuple[str | None, dict[str, str]]:
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return str(content["kind"]), dict(content["files"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None, {}  # written by hand, by save_pretrained or by an earlier version: nothing is known to be ours


def _entries(folder: Path) -> list[str]:
    """Every file and empty folder below `folder` but its manifest, as relative POSIX paths, sorted."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir() or not any(path.iterdir()))
    return sorted({path.relative_to(folder).as_posix() for path in found} - {MANIFEST})


def _digest(path: Path) -> str | None:
    """SHA-256 of a file; None of anything else."""
    if path.is_symlink() or not path.is_file():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
