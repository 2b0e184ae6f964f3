"""What may not be in a bundle: pickles, secrets, strangers' code, paths of this machine; each is named."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_classifier import REPO_ID, edit_json

from attrib_lab.models.model_folder import load_trained_model
from attrib_lab.publishing.bundle import CardOptions, assemble_bundle
from attrib_lab.publishing.hub import Destination
from attrib_lab.publishing.inspection import inspect_bundle
from attrib_lab.publishing.upload import publish
from attrib_lab.recipes.secrets import kind_of_secret, without_secrets
from attrib_lab.storage.manifests import MANIFEST
from attrib_lab.terminal.errors import UserError


HUB_TOKEN = "hf_" + "aB3dE" * 7
OF_TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "vocab.pkl", "vocab.txt", "spm.model"}


@pytest.fixture
def bundle(published, tmp_path) -> Path:
    """A copy of a bundle, to tamper with."""
    folder = Path(shutil.copytree(published.folder, tmp_path / "bundle"))
    (folder / MANIFEST).unlink()
    return folder


def test_a_bundle_as_it_is_passes(bundle):
    inspect_bundle(bundle, OF_TOKENIZER)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("pytorch_model.bin", b"", "pytorch_model.bin would be uploaded, but is no part"),
        ("vocab.pkl", b"", "vocab.pkl would be uploaded, but is no part"),
        ("train.csv", b"", "train.csv would be uploaded, but is no part"),
        (".env", b"", ".env would be uploaded, but is no part"),
        ("os.py", b"", "os.py would be uploaded, but is no part"),
        ("pooling.py", b"# changed", "pooling.py would be uploaded, but is no part"),
        ("model.safetensors", pickle.dumps([1]), "model.safetensors is no file of safetensors"),
        ("vocab.txt", pickle.dumps([1]), "vocab.txt is pickled"),
        ("spm.model", b"PK\x03\x04 an archive of torch", "spm.model is pickled"),
        ("vocab.txt", b"\xff\xfe", "vocab.txt is no text"),
        ("explanation.png", b"\xff\xfe", "explanation.png is no text"),
        ("vocab.txt", f"the\n{HUB_TOKEN}\n".encode(), "vocab.txt holds a token of the Hub, which all would read"),
        ("README.md", b"-----BEGIN RSA PRIVATE KEY-----", "README.md holds a private key"),
    ],
)
def test_what_does_not_belong_is_named(bundle, name, content, expected):
    (bundle / name).write_bytes(content)
    with pytest.raises(UserError) as refused:
        inspect_bundle(bundle, OF_TOKENIZER)
    assert str(refused.value).startswith(expected)


def test_links_and_folders_do_not_belong(bundle):
    (bundle / "vocab.txt").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match=r"vocab\.txt would be uploaded"):
        inspect_bundle(bundle, OF_TOKENIZER)
    (bundle / "vocab.txt").unlink()
    (bundle / "runs").mkdir()
    with pytest.raises(UserError, match="runs would be uploaded"):
        inspect_bundle(bundle, OF_TOKENIZER)


def test_secret_beside_the_weights_is_found(bundle):
    weights = load_file(bundle / "model.safetensors")
    save_file(weights, bundle / "model.safetensors", metadata={"format": "pt", "note": HUB_TOKEN})
    with pytest.raises(UserError, match=r"model\.safetensors holds a token of the Hub"):
        inspect_bundle(bundle, OF_TOKENIZER)


@pytest.mark.parametrize(
    ("secret", "kind"),
    [
        (HUB_TOKEN, "a token of the Hub"),
        ("ghp_" + "a1B2" * 9, "a token of GitHub"),
        ("AKIA" + "ABCD1234" * 2, "an access key of AWS"),
        ("AIza" + "a1B2c" * 7, "a key of Google's"),
        ("xoxb-" + "1234567890-" * 3, "a token of Slack"),
        ("sk-proj-" + "a1B2" * 10, "a key of OpenAI or Anthropic"),
        ("-----BEGIN PRIVATE KEY-----", "a private key"),
        ("postgres://me:s3cret@host/db", "a password in a web address"),
    ],
)
def test_secrets_are_known_by_their_looks(secret, kind):
    text = f'{{"note": "{secret}"}}'
    assert kind_of_secret(text) == kind
    assert "[secret]" in without_secrets(text)
    assert secret not in without_secrets(text)


@pytest.mark.parametrize("text", ["hf_auth_login", "https://user.example/a@b", "sk-learn", "AKIA", "ghp_", "a:b@c"])
def test_ordinary_words_are_no_secrets(text):
    assert kind_of_secret(text) is None


def test_secret_in_an_example_or_a_configuration_is_refused(model_dir, tmp_path):
    trained = load_trained_model(model_dir)
    with pytest.raises(UserError, match=r"README\.md holds a token of the Hub"):
        assemble_bundle(trained, tmp_path / "example", REPO_ID, CardOptions(example=f"stocks {HUB_TOKEN}"))
    trained.tokenizer.init_kwargs["use_auth_token"] = "s3cret"
    with pytest.raises(UserError, match=r"tokenizer_config\.json holds a secret.*use_auth_token"):
        assemble_bundle(trained, tmp_path / "configuration", REPO_ID)


def test_a_model_whose_weights_are_pickled_is_not_even_read(model_dir, tmp_path):
    """What unpickling it would run, nobody knows."""
    folder = Path(shutil.copytree(model_dir, tmp_path / "pickled"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"the model cannot be loaded: .*model\.safetensors"):
        publish(folder, Destination(REPO_ID), output=tmp_path / "bundle")


def test_path_of_this_machine_is_refused(model_dir, tmp_path):
    folder = Path(shutil.copytree(model_dir, tmp_path / "model"))
    edit_json(folder / "config.json", attribution_options={"weights": str(folder / "scorer.safetensors")})
    assert json.loads((folder / "config.json").read_text())["attribution_options"]
    with pytest.raises(UserError, match=r"config\.json names a file or folder of this machine.*attribution_options"):
        publish(folder, Destination(REPO_ID), output=tmp_path / "bundle")
