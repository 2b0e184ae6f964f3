"""From a trained model folder to a Hub repository: assembled, inspected, proven, and only then uploaded."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import CommitInfo, HfApi
from huggingface_hub.utils import HFValidationError, validate_repo_id

from ..models.model_folder import load_trained_model
from ..storage.files import writing
from ..storage.folders import locked, replacing
from ..storage.manifests import foreign_entries
from ..terminal.errors import UserError, first_line
from .bundle import Bundle, CardOptions, assemble_bundle
from .card_facts import read_evaluation
from .data_terms import check_terms
from .hub import Destination, Found, hub_errors, look, read_back, send
from .proof import prove_bundle


_KIND = "a bundle"
_REF_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
SNIPPET = """\
from transformers import pipeline

classify = pipeline("text-classification", model="{repo_id}", revision="{commit}", trust_remote_code=True)
"""


def publish(
    model_dir: str | Path,
    destination: Destination,
    *,
    output: str | Path | None = None,
    dry_run: bool = False,
    card: CardOptions | None = None,
    api: HfApi | None = None,
) -> None:
    """Assemble a model's bundle, prove it in a fresh process, and upload it; prints a word on each.

    Args:
        model_dir: what `train.py` or `attrib convert` left: the model and its tokenizer; for the card also metrics,
            recipe and evaluation.
        destination: the repository, and where in it.
        output: write the bundle into this folder and upload nothing; needs no network and no account.
        dry_run: do all but the upload, and say what it would do.
        card: what the model folder does not say.
        api: the Hub's client; by default that of the logged-in user.

    Raises:
        UserError: for a folder that cannot be published, data whose terms forbid it, a bundle that does not answer
            exactly as the model does, a Hub that cannot be reached or refuses, or an output folder that holds
            something else. Nothing is uploaded then, and what the output folder held is still there.
    """
    model_dir, output, card = Path(model_dir), None if output is None else Path(output), card or CardOptions()
    _check_arguments(destination, model_dir, output, dry_run, card)
    trained = load_trained_model(model_dir)
    found = None
    if output is None:
        if not destination.private:
            check_terms([trained.recipe, trained.explainer_recipe], card.license_id)
        api = api or HfApi()
        with hub_errors(destination.repo_id):
            api.whoami()  # before the minutes that a proof may take
            found = look(api, destination)
    with _place(output) as place, tempfile.TemporaryDirectory(dir=place) as scratch:
        folder = Path(scratch) / "bundle"
        with writing(output or folder):
            bundle = assemble_bundle(
                trained,
                folder,
                destination.repo_id,
                card,
                tag=destination.tag,
                evaluation=read_evaluation(model_dir, trained),
            )
        _print_files(bundle.files, f"{model_dir}, for {destination.repo_id}")
        print(f"proof: {prove_bundle(folder, trained.model, trained.tokenizer)}.", flush=True)
        if place is not None:
            for file in folder.iterdir():
                os.replace(file, place / file.name)
        elif dry_run:
            _print_plan(bundle, destination, found)
        else:
            _upload(api, folder, bundle, destination, found)
    if output is not None:
        print(f"the bundle is in {output}. Nothing was uploaded: without --output it would be.")


def _check_arguments(
    destination: Destination, model_dir: Path, output: Path | None, dry_run: bool, card: CardOptions
) -> None:
    try:
        validate_repo_id(destination.repo_id)
    except HFValidationError as error:
        raise UserError(f"--repo-id: {first_line(error)}") from None
    if "/" not in destination.repo_id:
        raise UserError(f"--repo-id is written user/name: {destination.repo_id!r} does not say whose repository it is.")
    if destination.pull_request and (destination.branch or destination.tag):
        raise UserError("a pull request goes to main, and its owner tags it: leave out --branch and --tag.")
    for option, name in (("--branch", destination.branch), ("--tag", destination.tag)):
        if name is not None and not _REF_NAME.fullmatch(name):
            raise UserError(f"{option} {name!r}: a name has letters, digits and . _ - / (not first or last).")
    if not card.example.strip():
        raise UserError("--example is empty: give a text of the kind that the model reads.")
    if output is not None and dry_run:
        raise UserError("--output uploads nothing anyway: leave out --dry-run, which asks the Hub.")
    if output is not None and output.resolve() == model_dir.resolve():
        raise UserError(f"--output {output} is the model folder itself: choose another folder.")


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


def _print_plan(bundle: Bundle, destination: Destination, found: Found | None) -> None:
    repo_id = destination.repo_id
    if found is None:
        print(f"it would create {repo_id}, {'private' if destination.private else 'for all to see'}.")
    where = "a pull request" if destination.pull_request else f"the branch {destination.branch or 'main'}"
    print(f"it would put these {len(bundle.files)} files into {where} of {repo_id}, in one commit.")
    stale = [name for name in (found.stale if found else []) if name not in bundle.files]
    if stale:
        print(f"it would delete there: {', '.join(stale)}.")
    if not destination.pull_request:
        print(f"it would tag the commit {bundle.tag}.")
    print("Nothing was uploaded: without --dry-run it would be.")


def _upload(api: HfApi, folder: Path, bundle: Bundle, destination: Destination, found: Found | None) -> None:
    repo_id = destination.repo_id
    with hub_errors(repo_id):
        commit: CommitInfo = send(api, folder, destination, found)
        count = read_back(api, folder, repo_id, commit.oid)
        if not destination.pull_request:
            # One that is made of the content may be there already, and then stands for the same content.
            api.create_tag(repo_id, tag=bundle.tag, revision=commit.oid, exist_ok=destination.tag is None)
    print(f"uploaded to {commit.pr_url or commit.commit_url}")
    print(f"read back: {count} files have the checksums of what was sent.")
    if destination.pull_request:
        print(f"once it is merged, its owner tags it as the card says: hf repos tag create {repo_id} {bundle.tag}")
    print(f"\nto load just this commit:\n\n{SNIPPET.format(repo_id=repo_id, commit=commit.oid)}", end="")
