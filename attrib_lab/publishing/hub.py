"""The Hub, spoken to by its own client: what is at a repository, one commit to it, and read back what it then holds."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from modeling_attrib import AttribConfig

from ..recipes.secrets import without_secrets
from ..terminal.errors import UserError, first_line
from .inspection import MODEL_CARD, PICTURE


# What an earlier version may have left in the repository, and would be loaded together with the proven files.
_STALE = ("*.py", "*.json", "*.safetensors", "*.bin", "*.txt", "*.model", "*.jinja", PICTURE)
_OF_NOBODY = {".gitattributes", ".gitignore", MODEL_CARD, "LICENSE"}  # in a repository without a model, too
MAIN = "main"
COMMIT_MESSAGE = "Classifier that returns attributions: weights, tokenizer, code and card"


@dataclass(frozen=True)
class Destination:
    """Where a bundle goes.

    Attributes:
        repo_id: "user/name".
        private: create the repository as a private one, and refuse one that is public.
        branch: commit there, and not to main; made if need be.
        tag: a new name for the commit.
        pull_request: propose the commit to the repository's owner; it must exist.
    """

    repo_id: str
    private: bool = False
    branch: str | None = None
    tag: str | None = None
    pull_request: bool = False


@dataclass(frozen=True)
class Found:
    """What is at the destination before the upload.

    Attributes:
        head: the commit that the new one follows.
        files: the files there.
        branch_exists: whether the branch asked for does.
    """

    head: str
    files: list[str]
    branch_exists: bool

    @property
    def stale(self) -> list[str]:
        """Files that an earlier bundle may have left; in folders, the owner's own stay."""
        return [name for name in self.files if "/" not in name and any(fnmatch(name, form) for form in _STALE)]


def look(api: HfApi, destination: Destination) -> Found | None:
    """What is at the destination; None where there is no such repository. Changes nothing.

    Raises:
        UserError: for a repository that is public or holds another model, a tag that exists, or a pull request to
            a repository that does not.
    """
    repo_id = destination.repo_id
    try:
        info = api.model_info(repo_id)
    except RepositoryNotFoundError:
        if destination.pull_request:
            raise UserError(f"there is no {repo_id} on the Hub, or it is not yours to see: no pull request.") from None
        return None
    if destination.private and not info.private:
        raise UserError(f"{repo_id} exists and is public, so nothing was uploaded; drop --private to do so.")
    refs = api.list_repo_refs(repo_id)
    if destination.tag in {tag.name for tag in refs.tags}:
        raise UserError(f"{repo_id} has a tag {destination.tag} already, which others may rely on: choose another.")
    heads = {branch.name: branch.target_commit for branch in refs.branches}
    branch_exists = (destination.branch or MAIN) in heads
    head = heads.get(destination.branch or MAIN, info.sha)
    found = Found(head, list(api.list_repo_files(repo_id, revision=head)), branch_exists)
    if not destination.pull_request:  # whose owner looks at it
        _refuse_other_model(api, repo_id, found)
    return found


def _refuse_other_model(api: HfApi, repo_id: str, found: Found) -> None:
    """An earlier bundle is replaced, an empty repository filled; whatever else is there is somebody's work."""
    held = [name for name in found.files if name not in _OF_NOBODY]
    if not held:
        return
    kind = None
    if "config.json" in held:
        with tempfile.TemporaryDirectory() as scratch:
            file = api.hf_hub_download(repo_id, "config.json", revision=found.head, local_dir=scratch)
            with contextlib.suppress(ValueError, AttributeError):
                kind = json.loads(Path(file).read_text(encoding="utf-8")).get("model_type")
    if kind != AttribConfig.model_type:
        what = f"a model of the type {kind!r}" if kind else f"other files ({held[0]})"
        raise UserError(
            f"{repo_id} exists and holds {what}, so nothing was uploaded: choose another name, or --pull-request."
        )


def send(api: HfApi, bundle: Path, destination: Destination, found: Found | None) -> CommitInfo:
    """Create the repository if need be, and put the bundle there in one commit.

    Every large file is uploaded before; until the commit, nobody sees anything of it. It is refused if somebody
    else's commit came in between.

    Raises:
        UserError: if what was found has changed meanwhile.
    """
    repo_id = destination.repo_id
    if found is None:
        api.create_repo(repo_id, private=destination.private or None, exist_ok=True)
        found = look(api, destination)
    if found is None:
        raise UserError(f"{repo_id} was created, and is not there: run the same command again.")
    if destination.branch is not None and not found.branch_exists:
        api.create_branch(repo_id, branch=destination.branch, revision=found.head, exist_ok=True)
    names = {file.name for file in bundle.iterdir()}
    # Not upload_folder: it may split a folder into several commits, of which a lost connection leaves the first.
    return api.create_commit(
        repo_id,
        [
            *(CommitOperationDelete(name) for name in found.stale if name not in names),
            *(CommitOperationAdd(name, bundle / name) for name in sorted(names)),
        ],
        commit_message=COMMIT_MESSAGE,
        revision=None if destination.pull_request else destination.branch,
        create_pr=destination.pull_request,
        parent_commit=found.head,
    )


def read_back(api: HfApi, bundle: Path, repo_id: str, commit: str) -> int:
    """Compare the checksums that the Hub names at a commit with the files that were sent; how many were compared.

    Raises:
        UserError: naming the files that differ or are missing there.
    """
    verified = api.verify_repo_checksums(repo_id, revision=commit, local_dir=bundle)
    wrong = [*(mismatch["path"] for mismatch in verified.mismatches), *verified.extra_paths]
    if wrong:
        raise UserError(f"{repo_id} at {commit} does not hold what was sent ({', '.join(wrong)}): do not use it.")
    return verified.checked_count


@contextlib.contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Whatever the Hub's client raises, as one clear line without a token in it."""
    try:
        yield
    except UserError:
        raise
    except LocalTokenNotFoundError:
        message = "not logged in to the Hub: run `hf auth login`, or set HF_TOKEN to a token that may write."
        raise UserError(message) from None
    except HfHubHTTPError as error:
        raise UserError(without_secrets(_refusal(error, repo_id))) from None
    except OfflineModeIsEnabled:
        message = "HF_HUB_OFFLINE is set, so nothing can be uploaded: unset it, or use --output DIR."
        raise UserError(message) from None
    except Exception as error:  # transports raise a different class for every cause
        cause = without_secrets(f"{type(error).__name__}: {first_line(error)}")
        raise UserError(
            f"the Hub cannot be reached, or the connection broke ({cause}); what it holds is as it was, or whole: "
            "run the same command again. --output DIR needs no network."
        ) from None


def _refusal(error: HfHubHTTPError, repo_id: str) -> str:
    status = error.response.status_code
    reason = " ".join((error.server_message or first_line(error)).split())
    if status == 401:
        return f"the Hub does not accept this login (401, {reason}): run `hf auth login`, or renew HF_TOKEN."
    if status == 403:
        return f"this login may not write to {repo_id} (403, {reason}): it takes a token with write access."
    if status == 412:
        return f"{repo_id} was changed by somebody else meanwhile (412): look at it, and run the same command again."
    return f"the Hub refused {repo_id} ({status}): {reason}"
