"""From a trained model folder to a Hub repository: assembled, proven, and only then uploaded."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import HFValidationError, validate_repo_id

from ..models.model_folder import load_trained_model
from ..storage.files import writing
from ..storage.folders import locked, replacing
from ..storage.manifests import foreign_entries
from ..terminal.errors import UserError, first_line
from .bundle import assemble_bundle
from .model_card import EXAMPLE, PICTURE
from .proof import prove_bundle


# What an earlier version may have left in the repository, and would be loaded together with the proven files.
_STALE = ["*.py", "*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", PICTURE]
_KIND = "a bundle"
COMMIT_MESSAGE = "Classifier that returns attributions: weights, tokenizer, code and card"


def publish(
    model_dir: str | Path,
    repo_id: str,
    *,
    output: str | Path | None = None,
    private: bool = False,
    license_id: str | None = None,
    language: str | None = None,
    example: str | None = None,
    api: HfApi | None = None,
) -> None:
    """Assemble a model's bundle, prove it in a fresh process, and upload it; prints a word on each.

    Args:
        model_dir: what `train.py` left: the model and its tokenizer; for the card also metrics and recipe.
        repo_id: "user/name".
        output: write the bundle into this folder and upload nothing; needs no network and no account.
        private: create the repository as a private one, and refuse to upload into a public one.
        license_id, language: for the model card, as the Hub spells them ("apache-2.0", "en").
        example: the text that the model card explains and shows; a sentence of our own by default.
        api: the Hub's client; by default that of the logged-in user.

    Raises:
        UserError: for a folder that cannot be published, a bundle that does not answer exactly as the model
            does, a Hub that cannot be reached or refuses, or an output folder that holds something else.
            Nothing is uploaded then, and what the output folder held is still there.
    """
    model_dir, output = Path(model_dir), None if output is None else Path(output)
    _check_repo_id(repo_id)
    example = EXAMPLE if example is None else example
    if not example.strip():
        raise UserError("--example is empty: give a text of the kind that the model reads.")
    if output is not None and output.resolve() == model_dir.resolve():
        raise UserError(f"--output {output} is the model folder itself: choose another folder.")
    trained = load_trained_model(model_dir)
    if output is None:
        api = api or HfApi()
        with _hub_errors(repo_id):
            api.whoami()  # before the minutes that a proof may take
    with _place(output) as place, tempfile.TemporaryDirectory(dir=place) as scratch:
        bundle = Path(scratch) / "bundle"
        with writing(output or bundle):
            files = assemble_bundle(trained, bundle, repo_id, license_id, language, example=example)
        _print_files(files, f"{model_dir}, for {repo_id}")
        print(f"proof: {prove_bundle(bundle, trained.model, trained.tokenizer)}.", flush=True)
        if place is None:
            print(f"uploaded to {_upload(api, bundle, repo_id, private)}")
        else:
            for file in bundle.iterdir():
                os.replace(file, place / file.name)
    if output is not None:
        print(f"the bundle is in {output}. Nothing was uploaded: without --output it would be.")


def _check_repo_id(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"--repo-id: {first_line(error)}") from None
    if "/" not in repo_id:
        raise UserError(f"--repo-id is written user/name: {repo_id!r} does not say whose repository it is.")


@contextlib.contextmanager
def _place(output: Path | None) -> Iterator[Path | None]:
    """A new folder that takes the place of `output`, an earlier bundle, in the end; None where there is no output."""
    if output is None:
        yield None
        return
    with locked(output, _KIND):
        foreign = foreign_entries(output)
        if foreign:
            named = ", ".join(foreign[:3]) + (" ..." if len(foreign) > 3 else "")
            raise UserError(
                f"--output {output} holds what no earlier bundle did, or what was changed since ({named}): "
                "choose another folder, or take that out of it."
            )
        with replacing(output, _KIND) as new:
            yield new


def _print_files(files: dict[str, int], title: str) -> None:
    width = max(map(len, files))
    print(f"bundle of {title}:")
    for name, size in files.items():
        print(f"  {name:{width}}  {size:>13,} bytes")
    print(f"  {f'{len(files)} files':{width}}  {sum(files.values()):>13,} bytes", flush=True)


def _upload(api: HfApi, bundle: Path, repo_id: str, private: bool) -> str:
    """Create the repository if need be and commit the bundle; the repository's address."""
    with _hub_errors(repo_id):
        address = api.create_repo(repo_id, private=private or None, exist_ok=True)
        # An existing repository keeps its visibility, whatever create_repo was asked for.
        if private and not api.model_info(repo_id).private:
            raise UserError(f"{repo_id} exists and is public, so nothing was uploaded; drop --private to do so.")
        api.upload_folder(repo_id=repo_id, folder_path=bundle, commit_message=COMMIT_MESSAGE, delete_patterns=_STALE)
    return str(address)


@contextlib.contextmanager
def _hub_errors(repo_id: str) -> Iterator[None]:
    """Whatever the Hub's client raises, as one clear line."""
    try:
        yield
    except UserError:
        raise
    except LocalTokenNotFoundError:
        message = "not logged in to the Hub: run `hf auth login`, or set HF_TOKEN to a token that may write."
        raise UserError(message) from None
    except HfHubHTTPError as error:
        raise UserError(_refusal(error, repo_id)) from None
    except OfflineModeIsEnabled:
        message = "HF_HUB_OFFLINE is set, so nothing can be uploaded: unset it, or use --output DIR."
        raise UserError(message) from None
    except Exception as error:  # transports raise a different class for every cause
        cause = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(
            f"the Hub cannot be reached, or the connection broke ({cause}); --output DIR needs no network."
        ) from None


def _refusal(error: HfHubHTTPError, repo_id: str) -> str:
    status = error.response.status_code
    reason = " ".join((error.server_message or first_line(error)).split())
    if status == 401:
        return f"the Hub does not accept this login (401, {reason}): run `hf auth login`, or renew HF_TOKEN."
    if status == 403:
        return f"this login may not write to {repo_id} (403, {reason}): it takes a token with write access."
    return f"the Hub refused {repo_id} ({status}): {reason}"
