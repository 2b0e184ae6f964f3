"""Publishing with the Hub's own client, on a double of the Hub: what it holds afterwards, and when things go wrong."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from hub_double import HungUpError, RefusedError
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import LocalTokenNotFoundError
from tiny_classifier import REPO_ID, TOKEN

from attrib_lab.publishing import upload
from attrib_lab.publishing.bundle import CardOptions, content_tag
from attrib_lab.publishing.hub import Destination
from attrib_lab.publishing.upload import publish
from attrib_lab.storage.manifests import MANIFEST
from attrib_lab.terminal.errors import UserError


pytestmark = pytest.mark.usefixtures("assembled_only")  # the proof of what is sent is test_upload's matter
CARD = CardOptions("apache-2.0", "en")


def send(hub, model_dir, token: str = TOKEN, **options) -> None:
    where = {name: options.pop(name) for name in ("private", "branch", "tag", "pull_request") if name in options}
    destination = Destination(options.pop("repo_id", REPO_ID), **where)
    publish(model_dir, destination, card=CARD, api=HfApi(endpoint=hub.address, token=token), **options)


def bundle_of(published) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in published.folder.iterdir() if file.name != MANIFEST}


def commits(hub, repo_id: str = REPO_ID) -> int:
    """How many commits a repository got after the one that it was made with."""
    return len(hub.repositories[repo_id].commits) - 1


# What is sent -------------------------------------------------------------------------------------------------------


def test_one_commit_holds_the_very_bundle_that_output_writes(hub, model_dir, published, capsys):
    send(hub, model_dir)
    assert hub.files(REPO_ID) == bundle_of(published)
    assert commits(hub) == 1
    assert not hub.repositories[REPO_ID].private
    commit = hub.repositories[REPO_ID].branches["main"]
    printed = capsys.readouterr().out
    assert f"uploaded to {hub.address}/{REPO_ID}/commit/{commit}\n" in printed
    assert f"read back: {len(bundle_of(published))} files have the checksums of what was sent.\n" in printed
    assert f'pipeline("text-classification", model="{REPO_ID}", revision="{commit}", trust_remote_code=True)' in printed


def test_card_pins_a_tag_that_is_made_of_the_content(hub, model_dir, published, tmp_path):
    send(hub, model_dir)
    repository = hub.repositories[REPO_ID]
    ((tag, commit),) = repository.tags.items()
    assert commit == repository.branches["main"]
    card = hub.files(REPO_ID)["README.md"].decode()
    assert set(re.findall(r'revision"?(?:=|: )"(.*?)"', card)) == {tag}
    for name, content in hub.files(REPO_ID, tag).items():
        (tmp_path / name).write_bytes(content)
    assert content_tag(tmp_path) == tag
    (tmp_path / "config.json").write_bytes(b"{}")
    assert content_tag(tmp_path) != tag


def test_xet_makes_one_commit_too(hub, model_dir, published, tmp_path, monkeypatch):
    """By the client's own way for large files, here into a folder."""
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.xet_store = tmp_path / "xet"
    send(hub, model_dir)
    assert commits(hub) == 1
    repository = hub.repositories[REPO_ID]
    tree = repository.commits[repository.branches["main"]]
    weights = hashlib.sha256(bundle_of(published)["model.safetensors"]).hexdigest()
    assert tree["model.safetensors"] == weights
    assert any(hub.xet_store.rglob("*"))
    assert not any("/lfs/" in request for request in hub.requests)


def test_private_repository(hub, model_dir):
    send(hub, model_dir, private=True)
    assert hub.repositories[REPO_ID].private
    with pytest.raises(UserError, match=r"does not accept this login|refused"):
        send(hub, model_dir, token="hf_nobody")


def test_branch_and_tag(hub, model_dir, published):
    main = hub.create(REPO_ID, private=False).branches["main"]
    send(hub, model_dir, branch="try/this", tag="v1.0")
    repository = hub.repositories[REPO_ID]
    assert repository.branches["main"] == main
    assert repository.tags == {"v1.0": repository.branches["try/this"]}
    assert hub.files(REPO_ID, "try/this").keys() == bundle_of(published).keys()
    assert b'revision="v1.0"' in hub.files(REPO_ID, "try/this")["README.md"]


def test_pull_request_to_somebody_elses_repository_changes_nothing_but_proposes(hub, model_dir, capsys):
    repository = hub.create("other/stock", False, **{"config.json": b'{"model_type": "bert"}', "vocab.txt": b"a"})
    before = dict(repository.branches)
    send(hub, model_dir, repo_id="other/stock", pull_request=True)
    assert repository.branches == before
    assert repository.tags == {}
    proposed = hub.files("other/stock", "refs/pr/1")
    assert json.loads(proposed["config.json"])["model_type"] == "attrib"
    assert "vocab.txt" not in proposed
    printed = capsys.readouterr().out
    assert f"uploaded to {hub.address}/other/stock/discussions/1\n" in printed
    assert "once it is merged, its owner tags it as the card says: hf repos tag create other/stock sha256-" in printed


def test_dry_run_asks_and_changes_nothing(hub, model_dir, capsys):
    send(hub, model_dir, dry_run=True, private=True)
    assert hub.repositories == {}
    printed = capsys.readouterr().out
    assert f"it would create {REPO_ID}, private.\n" in printed
    assert "Nothing was uploaded: without --dry-run it would be.\n" in printed
    old = {"config.json": b'{"model_type": "attrib"}', "old.py": b"", "photo.jpg": b""}
    repository = hub.create(REPO_ID, False, **old)
    send(hub, model_dir, dry_run=True)
    assert len(repository.commits) == 1
    assert "it would delete there: old.py.\n" in capsys.readouterr().out
    assert {request.partition(" ")[0] for request in hub.requests} <= {"GET", "HEAD"}


def test_newer_bundle_takes_the_place_of_an_earlier_one_and_the_owners_files_stay(hub, model_dir, published):
    owners = {"photo.jpg": b"", "notes/thesis.txt": b""}
    old = {"config.json": b'{"model_type": "attrib"}', "old.py": b"", "vocab.txt": b"", "model-00001.safetensors": b""}
    hub.create(REPO_ID, False, **owners, **old)
    send(hub, model_dir)
    assert hub.files(REPO_ID) == bundle_of(published) | owners
    assert commits(hub) == 1


def test_the_same_bundle_again_makes_no_commit(hub, model_dir):
    send(hub, model_dir)
    send(hub, model_dir)
    assert commits(hub) == 1


# What is refused ----------------------------------------------------------------------------------------------------


def test_private_is_never_uploaded_into_a_public_repository(hub, model_dir):
    hub.create(REPO_ID, private=False)
    with pytest.raises(UserError, match="public, so nothing was uploaded"):
        send(hub, model_dir, private=True)
    assert hub.files(REPO_ID) == {}


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"config.json": b'{"model_type": "bert"}', "model.safetensors": b""}, "a model of the type 'bert'"),
        ({"config.json": b"["}, "other files (config.json)"),
        ({"adapter.bin": b""}, "other files (adapter.bin)"),
    ],
)
def test_a_name_that_is_taken_by_another_model_is_left_alone(hub, model_dir, files, what):
    hub.create(REPO_ID, False, **files)
    with pytest.raises(UserError, match=re.escape(f"{REPO_ID} exists and holds {what}, so nothing was uploaded")):
        send(hub, model_dir)
    assert hub.files(REPO_ID) == files


def test_a_tag_that_exists_is_not_moved(hub, model_dir):
    repository = hub.create(REPO_ID, private=False)
    repository.tags["v1.0"] = repository.branches["main"]
    with pytest.raises(UserError, match=r"has a tag v1\.0 already"):
        send(hub, model_dir, tag="v1.0")
    assert hub.files(REPO_ID) == {}


def test_somebody_elses_name_and_a_pull_request_to_nothing_are_refused(hub, model_dir):
    with pytest.raises(UserError, match=r"may not write to other/mine \(403"):
        send(hub, model_dir, repo_id="other/mine")
    with pytest.raises(UserError, match="there is no other/mine on the Hub"):
        send(hub, model_dir, repo_id="other/mine", pull_request=True)
    assert hub.repositories == {}


def test_a_commit_of_somebody_else_in_between_is_not_overwritten(hub, model_dir):
    repository = hub.create(REPO_ID, private=False)

    def interfere(request: str) -> None:
        if "/commit/" in request:
            theirs = repository.commits[repository.branches["main"]] | {"theirs.txt": hub.keep(b"theirs")}
            repository.branches["main"] = repository.add_commit(theirs, repository.branches["main"])

    hub.faults = interfere
    with pytest.raises(UserError, match="changed by somebody else meanwhile"):
        send(hub, model_dir)
    assert hub.files(REPO_ID) == {"theirs.txt": b"theirs"}


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (401, "Invalid credentials", r"does not accept this login \(401.*hf auth login"),
        (403, "You need write access", r"may not write to user/tiny-attrib \(403, .*You need write access"),
        (500, "Out of order", r"refused user/tiny-attrib \(500\)"),
    ],
)
def test_refusals_end_in_one_line(hub, model_dir, status, message, expected):
    def refuse(request: str) -> None:
        if status == 401 or "whoami" not in request:
            raise RefusedError(status, message)

    hub.faults = refuse
    with pytest.raises(UserError, match=expected) as caught:
        send(hub, model_dir)
    assert "\n" not in str(caught.value)


def test_no_network_no_login_and_offline_mode_each_have_their_line(model_dir, monkeypatch):
    def nobody(*_) -> None:
        raise LocalTokenNotFoundError("no token\nat all")

    nowhere = HfApi(endpoint="http://127.0.0.1:9", token=TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        publish(model_dir, Destination(REPO_ID), api=nowhere)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match="cannot be reached"):
        publish(model_dir, Destination(REPO_ID), api=nowhere)
    monkeypatch.setattr(HfApi, "whoami", nobody)
    with pytest.raises(UserError, match="not logged in"):
        publish(model_dir, Destination(REPO_ID), api=nowhere)


def test_a_token_is_never_printed_nor_sent_in_a_file(hub, model_dir, capsys):
    send(hub, model_dir)
    assert TOKEN not in "".join(capsys.readouterr())
    assert not any(TOKEN.encode() in content for content in hub.objects.values())

    def tell(request: str) -> None:
        raise RefusedError(400, f"bad token {TOKEN}")

    hub.faults = tell
    with pytest.raises(UserError, match=r"bad token \[secret\]") as caught:
        send(hub, model_dir)
    assert TOKEN not in str(caught.value)


def test_failed_proof_creates_nothing(hub, model_dir, monkeypatch):
    def fail(*_) -> None:
        raise UserError("the proof failed")

    monkeypatch.setattr(upload, "prove_bundle", fail)
    with pytest.raises(UserError, match="the proof failed"):
        send(hub, model_dir)
    assert hub.repositories == {}


# A connection that dies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["PUT /lfs/", "POST /lfs/verify", f"POST /api/models/{REPO_ID}/commit/"])
def test_a_connection_that_dies_leaves_nothing_half_published_and_a_second_run_finishes(hub, model_dir, published, at):
    def hang_up(request: str) -> None:
        if request.startswith(at):
            raise HungUpError

    hub.faults = hang_up
    with pytest.raises(UserError, match=r"connection broke.*run the same command again") as caught:
        send(hub, model_dir)
    assert "\n" not in str(caught.value)
    assert hub.files(REPO_ID) == {}
    hub.faults = lambda request: None
    send(hub, model_dir)
    assert hub.files(REPO_ID) == bundle_of(published)
    assert commits(hub) == 1


def test_what_was_uploaded_before_the_connection_died_is_not_uploaded_again(hub, model_dir):
    def hang_up(request: str) -> None:
        if "/commit/" in request:
            raise HungUpError

    hub.faults = hang_up
    with pytest.raises(UserError, match="connection broke"):
        send(hub, model_dir)
    hub.faults, hub.requests[:] = (lambda request: None), []
    send(hub, model_dir)
    assert not any(request.startswith("PUT") for request in hub.requests)


def test_a_commit_whose_answer_was_lost_is_not_made_twice(hub, model_dir, published):
    hub.answers_lost = lambda request: "/commit/" in request
    with pytest.raises(UserError, match="connection broke"):
        send(hub, model_dir)
    assert hub.files(REPO_ID) == bundle_of(published)
    hub.answers_lost = lambda request: False
    send(hub, model_dir)
    assert commits(hub) == 1
    assert hub.repositories[REPO_ID].tags


# A file that is not what was sent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "modeling_attrib.py"])
def test_a_file_that_arrived_otherwise_is_named_and_nothing_is_tagged(hub, model_dir, name):
    hub.told[name] = "0" * 40
    with pytest.raises(UserError, match=rf"does not hold what was sent \({re.escape(name)}\): do not use it"):
        send(hub, model_dir)
    assert hub.repositories[REPO_ID].tags == {}


# Arguments ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pull_request": True, "tag": "v1"}, "leave out --branch and --tag"),
        ({"pull_request": True, "branch": "b"}, "leave out --branch and --tag"),
        ({"tag": 'v1", evil="'}, "--tag .*: a name has letters"),
        ({"branch": "-b"}, "--branch '-b': a name has letters"),
    ],
)
def test_arguments_that_do_not_go_together(hub, model_dir, options, expected):
    with pytest.raises(UserError, match=expected):
        send(hub, model_dir, **options)
    assert hub.requests == []


def test_output_and_dry_run_do_not_go_together(model_dir, tmp_path: Path):
    with pytest.raises(UserError, match="leave out --dry-run"):
        publish(model_dir, Destination(REPO_ID), output=tmp_path / "bundle", dry_run=True)
