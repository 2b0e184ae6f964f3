"""Publishing: a minimal bundle of this package's own code, proven elsewhere, and nothing sent without the proof."""

import json
import re
import runpy
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_classifier import REPO_ID, REPOSITORY
from transformers import BertConfig

import modeling_attrib
from attrib_lab.models.model_folder import load_trained_model
from attrib_lab.publishing import upload
from attrib_lab.publishing.bundle import assemble_bundle
from attrib_lab.publishing.fresh_process import align_weights
from attrib_lab.publishing.hub import Destination
from attrib_lab.publishing.proof import Proof, prove_bundle
from attrib_lab.publishing.upload import publish
from attrib_lab.storage.manifests import MANIFEST, write_manifest
from attrib_lab.terminal.errors import UserError


CODE = {file.name: file.read_bytes() for file in Path(modeling_attrib.__file__).parent.glob("*.py")}
del CODE["__init__.py"]
OTHER = Destination("other/name")


@pytest.fixture
def copy(published, tmp_path) -> Path:
    """A copy of the bundle, to tamper with."""
    return Path(shutil.copytree(published.folder, tmp_path / "copy"))


def contents_of(bundle: Path) -> dict[str, bytes]:
    """What a bundle's users get: its files, without the note on who wrote them."""
    return {file.name: file.read_bytes() for file in bundle.iterdir() if file.name != MANIFEST}


# What a bundle holds ------------------------------------------------------------------------------------------------


def test_bundle_is_complete_and_minimal(published):
    data = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"}
    data |= {"explanation.png"}
    assert contents_of(published.folder).keys() == data | set(CODE)


def test_code_is_this_packages_byte_for_byte_even_if_the_model_folder_has_another(published):
    assert {name: (published.folder / name).read_bytes() for name in CODE} == CODE


def test_weights_are_the_trained_ones(published, model_dir):
    trained, bundled = (load_file(folder / "model.safetensors") for folder in (model_dir, published.folder))
    assert trained.keys() == bundled.keys()
    assert all(torch.equal(trained[name], bundled[name]) for name in trained)


def test_nothing_of_this_machine_leaks(published, model_dir):
    contents = b"".join(file.read_bytes() for file in published.folder.iterdir())
    assert str(model_dir.parent).encode() not in contents
    assert b'"is_local": true' in (model_dir / "tokenizer_config.json").read_bytes().replace(b'":true', b'": true')
    tokenizer = json.loads((published.folder / "tokenizer_config.json").read_text())
    assert not {"is_local", "local_files_only", "name_or_path", "tokenizer_file"} & set(tokenizer)
    assert tokenizer["model_max_length"] == 512


def test_cleaning_leaves_labels_alone(model_dir, tmp_path):
    trained = load_trained_model(model_dir)
    names = {0: "is_local", 1: "/home/somebody/model", 2: "local_files_only"}
    trained.model.config.id2label, trained.model.config.label2id = names, {name: i for i, name in names.items()}
    assemble_bundle(trained, tmp_path / "bundle", REPO_ID)
    written = json.loads((tmp_path / "bundle" / "config.json").read_text())
    assert written["label2id"] == {name: index for index, name in names.items()}


def test_option_that_names_a_file_of_this_machine_is_refused(model_dir, tmp_path):
    trained = load_trained_model(model_dir)
    trained.model.config.attribution_options = {"weights": str(model_dir / "scorer.safetensors")}
    with pytest.raises(UserError, match=r"attribution_options\.weights.*scorer\.safetensors"):
        assemble_bundle(trained, tmp_path / "bundle", REPO_ID)


def test_printed_list_and_verdict(published):
    listed = dict(re.findall(r"^  (\S+\.\w+) +([\d,]+) bytes$", published.printed, re.MULTILINE))
    sizes = {name: len(content) for name, content in contents_of(published.folder).items()}
    assert {name: int(size.replace(",", "")) for name, size in listed.items()} == sizes
    assert "without this package" in published.printed
    assert "AutoModel, AutoModelForSequenceClassification, pipeline, EndpointHandler" in published.printed
    assert "largest difference 0.0." in published.printed
    assert published.printed.endswith("the bundle is in bundle. Nothing was uploaded: without --output it would be.\n")
    assert published.errors == ""


# The proof ----------------------------------------------------------------------------------------------------------


# Were this package importable where the proof runs, the module would behave, and the proof pass.
TURNCOAT = """
try:
    import modeling_attrib
except ImportError:
    honest = AttribForSequenceClassification.forward

    def forward(self, *arguments, **options):
        output = honest(self, *arguments, **options)
        if output.attributions is not None:
            output.attributions = -output.attributions
        return output

    AttribForSequenceClassification.forward = forward
"""


def tamper_with_weight(bundle: Path) -> None:
    weights = load_file(bundle / "model.safetensors")
    weights["classifier.bias"][0] += 1e-3
    save_file(weights, bundle / "model.safetensors", metadata={"format": "pt"})


def tamper_with_module(bundle: Path) -> None:
    module = bundle / "modeling_attrib.py"
    module.write_text(module.read_text(encoding="utf-8") + TURNCOAT, encoding="utf-8")


def tamper_with_handler(bundle: Path) -> None:
    handler = bundle / "handler.py"
    handler.write_text(handler.read_text(encoding="utf-8").replace('"top_k"', '"top_n"'), encoding="utf-8")


def tamper_by_loss(bundle: Path) -> None:
    (bundle / "contrastive.py").unlink()


@pytest.fixture(scope="module")
def verdicts(published, model_dir, tmp_path_factory) -> dict[str, str]:
    """What the proof says of each tampered bundle (all at once: starting a process takes the most time)."""

    def verdict(tamper, trained) -> str:
        bundle = tmp_path_factory.mktemp("tampered") / "bundle"
        shutil.copytree(published.folder, bundle)
        tamper(bundle)
        try:
            return str(prove_bundle(bundle, trained.model, trained.tokenizer))
        except UserError as error:
            return f"UserError: {error}"

    tamperings = [tamper_with_weight, tamper_with_module, tamper_with_handler, tamper_by_loss]
    models = [load_trained_model(model_dir) for _ in tamperings]  # a tokenizer must not be shared between threads
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as threads:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        return {tamper.__name__: said for tamper, said in zip(tamperings, threads.map(verdict, tamperings, models))}


def test_tampered_weight_fails_the_proof(verdicts):
    said = verdicts["tamper_with_weight"]
    assert said.startswith("UserError: the bundle does not answer as the trained model does, so nothing was uploaded")
    assert re.search(r"(logits|residual) differs by 0\.001\.$", said)


def test_tampered_module_fails_the_proof_and_this_package_is_out_of_reach(verdicts):
    said = verdicts["tamper_with_module"]
    assert said.startswith("UserError: the bundle does not answer as the trained model does, so nothing was uploaded")
    assert re.search(r"(attributions|special_score).* differs by", said)


def test_tampered_handler_of_endpoints_fails_the_proof(verdicts):
    said = verdicts["tamper_with_handler"]
    assert said.startswith("UserError: the bundle does not work in a fresh process, so nothing was uploaded")
    assert "unknown parameter 'top_k'" in said


def test_bundle_that_cannot_be_loaded_fails_the_proof_in_one_line(verdicts):
    said = verdicts["tamper_by_loss"]
    assert said.startswith("UserError: the bundle does not work in a fresh process, so nothing was uploaded")
    assert "contrastive.py" in said
    assert "\n" not in said


def test_aligned_weights_are_the_same_weights_where_torch_would_put_them():
    layer = torch.nn.Linear(7, 5)
    values = layer.weight.detach().clone()
    layer.weight.data = torch.cat([torch.zeros(1), values.flatten()])[1:].view(5, 7)
    assert layer.weight.data_ptr() % 64
    align_weights(layer)
    assert layer.weight.data_ptr() % 64 == 0
    assert torch.equal(layer.weight, values)


def test_model_that_answers_with_nan_is_refused(model_dir, published):
    trained = load_trained_model(model_dir)
    torch.nn.init.constant_(trained.model.classifier.bias, torch.nan)
    with pytest.raises(UserError, match="cannot explain its decisions"):
        prove_bundle(published.folder, trained.model, trained.tokenizer)


# The output folder --------------------------------------------------------------------------------------------------


def test_failed_proof_reaches_no_hub_and_touches_no_output(model_dir, published, monkeypatch):
    def fail(*_) -> Proof:
        raise UserError("the proof failed")

    monkeypatch.setattr(upload, "prove_bundle", fail)
    before = {file.name: file.read_bytes() for file in published.folder.iterdir()}
    with pytest.raises(UserError, match="the proof failed"):
        publish(model_dir, OTHER, output=published.folder)
    assert {file.name: file.read_bytes() for file in published.folder.iterdir()} == before
    assert not list(model_dir.parent.glob(".*"))


@pytest.mark.usefixtures("assembled_only")
def test_newer_bundle_takes_the_place_of_an_earlier_one(copy, model_dir):
    (copy / "module_of_old.py").write_text("", encoding="utf-8")
    (copy / MANIFEST).unlink()
    write_manifest(copy, "a bundle")
    publish(model_dir, OTHER, output=copy)
    assert not (copy / "module_of_old.py").exists()
    assert "other/name" in (copy / "README.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("assembled_only")
@pytest.mark.parametrize("name", ["handler.py", "vocab.txt", "README.md"])
def test_the_users_own_files_are_named_and_stay(copy, model_dir, name):
    """What an endpoint runs, a word list, a card that was written by hand: all bear names that a bundle's files may."""
    with (copy / name).open("a", encoding="utf-8") as file:
        file.write("mine")
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    with pytest.raises(UserError, match=re.escape(f"({name}): choose another folder, or take that out of it.")):
        publish(model_dir, OTHER, output=copy)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bad(model_dir, tmp_path) -> dict[str, str]:
    """Folders that cannot be published, or written to."""
    for name in ("empty", "unfinished", "stock", "headless", "torn", "taken"):
        (tmp_path / name).mkdir()
    (tmp_path / "unfinished" / "checkpoints").mkdir()
    BertConfig().save_pretrained(tmp_path / "stock")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model_dir / name, tmp_path / "headless")
    weights = load_file(model_dir / "model.safetensors")
    del weights["classifier.bias"]
    save_file(weights, tmp_path / "headless" / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "torn" / "config.json").write_text("{", encoding="utf-8")
    (tmp_path / "taken" / "thesis.txt").write_text("the only copy", encoding="utf-8")
    return {path.name: str(path) for path in tmp_path.iterdir()} | {"model": str(model_dir)}


@pytest.mark.parametrize(
    ("folder", "repo_id", "output", "expected"),
    [
        ("nowhere", "user/name", None, "nowhere: no such folder"),
        ("empty", "user/name", None, "there is no config.json"),
        ("unfinished", "user/name", None, "training has not finished"),
        ("stock", "user/name", None, "model_type is 'bert', not 'attrib'"),
        ("torn", "user/name", None, "config.json cannot be read"),
        ("headless", "user/name", None, "missing keys (classifier.bias"),
        ("model", "user/na me", None, "--repo-id: Repo id must use"),
        ("model", "a/b/c", None, "--repo-id: Repo id must be"),
        ("model", "name", None, "written user/name"),
        ("model", "user/name", "taken", "holds what no earlier bundle did, or what was changed since (thesis.txt)"),
        ("model", "user/name", "model", "is the model folder itself"),
        ("model", "user/name", "taken/thesis.txt", "is a file"),
    ],
)
def test_mistakes_end_in_one_line_and_status_2(folder, repo_id, output, expected, bad, tmp_path, monkeypatch, capsys):
    def path_of(name: str) -> str:
        return bad.get(name) or str(tmp_path / name)

    to = [] if output is None else ["--output", path_of(output)]
    monkeypatch.setattr(sys, "argv", ["push_to_hub.py", path_of(folder), "--repo-id", repo_id, *to])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPOSITORY / "push_to_hub.py"), run_name="__main__")
    printed = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2
    assert printed[-1].startswith("error: ")
    assert expected in printed[-1]
    assert not any("Traceback" in line for line in printed)
    assert (tmp_path / "taken" / "thesis.txt").read_text() == "the only copy"
