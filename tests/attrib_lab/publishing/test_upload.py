"""Publishing: a minimal bundle of this package's own code, proven elsewhere, and nothing sent without the proof."""

import ast
import contextlib
import html
import json
import re
import runpy
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard, constants, metadata_load
from huggingface_hub.errors import LocalTokenNotFoundError
from rendered_markdown import rendered
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, BertConfig, PreTrainedTokenizerFast

import modeling_attrib
from attrib_lab.models.model_folder import load_trained_model
from attrib_lab.publishing import upload
from attrib_lab.publishing.bundle import assemble_bundle
from attrib_lab.publishing.fresh_process import align_weights
from attrib_lab.publishing.model_card import model_card, read_data_source
from attrib_lab.publishing.proof import Proof, prove_bundle
from attrib_lab.publishing.upload import publish
from attrib_lab.storage.manifests import MANIFEST, write_manifest
from attrib_lab.terminal.errors import UserError
from modeling_attrib import AttribConfig, AttribForSequenceClassification, AttribTextClassificationPipeline
from modeling_attrib.configuration_attrib import ATTRIB_VERSION


REPOSITORY = Path(modeling_attrib.__file__).resolve().parents[1]
CODE = {file.name: file.read_bytes() for file in Path(modeling_attrib.__file__).parent.glob("*.py")}
del CODE["__init__.py"]
REPO_ID = "user/tiny-attrib"
HOSTILE = "</td><script>alert(1)</script> `x` | **B** [y](javascript:z) \u202e\ud800\n---\nlicense: evil\n---\n# Owned"
LABELS = ["World", "Sci/Tech", HOSTILE.replace("\ud800", "")]
FIGURES = {"accuracy": 0.9125, "macro_precision": 0.9, "macro_recall": 0.905, "macro_f1": 0.9012, "loss": 0.3}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "stocks", "oil", "won", "cup", *letters]
    vocabulary = {word: index for index, word in enumerate([*words, *(f"##{letter}" for letter in letters)])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **special)


def edit_json(file: Path, **entries) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries), encoding="utf-8")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """What a training run may leave: a model, its tokenizer, and much that is nobody else's business."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    tokenizer = tiny_tokenizer()
    backbone = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=512,
    )
    torch.manual_seed(0)
    names = dict(enumerate(LABELS))
    config = AttribConfig(backbone_config=backbone, id2label=names, label2id={name: i for i, name in names.items()})
    model = AttribForSequenceClassification(config)
    for parameter in model.parameters():  # far from the usual start, where every score is nearly zero
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)  # as a trainer does: now it says is_local
    backbone_entry = json.loads((folder / "config.json").read_text())["backbone_config"]
    edit_json(folder / "config.json", backbone_config=backbone_entry | {"_name_or_path": str(folder)})
    edit_json(folder / "tokenizer_config.json", name_or_path=str(folder), tokenizer_file=str(folder / "tokenizer.json"))
    recipe = {"output_dir": str(folder), "data": {"train": str(folder / "train.parquet"), "test": "owner/news:en@test"}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    metrics = {"rows": {"train": 1200, "validation": 20, "test": 800}, "test": FIGURES, "validation": FIGURES}
    settings = {"backbone": "sentence-transformers/all-MiniLM-L6-v2", "device": "cpu"}
    (folder / "metrics.json").write_text(json.dumps(metrics | {"settings": settings}), encoding="utf-8")
    (folder / "checkpoints").mkdir()
    for name in ("optimizer.pt", "training_args.bin", "checkpoints/scheduler.pt"):
        torch.save({"secret": str(folder)}, folder / name)
    (folder / "taps.py").write_text("raise RuntimeError('an older version of this module')\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def published(model_dir) -> SimpleNamespace:
    """A bundle that the command wrote, with its proof, and what it printed."""
    output = model_dir.parent / "bundle"
    command = [sys.executable, REPOSITORY / "push_to_hub.py", model_dir.name, "--repo-id", REPO_ID]
    command += ["--output", output.name, "--license", "apache-2.0", "--language", "en"]
    process = subprocess.run(command, cwd=model_dir.parent, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return SimpleNamespace(folder=output, printed=process.stdout, errors=process.stderr)


@pytest.fixture
def card(published) -> str:
    return (published.folder / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def copy(published, tmp_path) -> Path:
    """A copy of the bundle, to tamper with."""
    return Path(shutil.copytree(published.folder, tmp_path / "copy"))


@pytest.fixture
def assembled_only(monkeypatch) -> None:
    """Skip the proof where something else is tested."""
    monkeypatch.setattr(upload, "prove_bundle", lambda *_: Proof(("nobody",), 0, 0))


def contents_of(bundle: Path) -> dict[str, bytes]:
    """What a bundle's users get: its files, without the note on who wrote them."""
    return {file.name: file.read_bytes() for file in bundle.iterdir() if file.name != MANIFEST}


# What a bundle holds ---------------------------------------------------------------------------------------------


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
    assert "AutoModel, AutoModelForSequenceClassification, pipeline" in published.printed
    assert "largest difference 0.0." in published.printed
    assert published.printed.endswith("the bundle is in bundle. Nothing was uploaded: without --output it would be.\n")
    assert published.errors == ""


# The proof -------------------------------------------------------------------------------------------------------


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

    tamperings = [tamper_with_weight, tamper_with_module, tamper_by_loss]
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


# The model card --------------------------------------------------------------------------------------------------


def test_header_says_what_the_hub_asks(published):
    header = metadata_load(published.folder / "README.md")
    assert header["license"] == "apache-2.0"
    assert header["language"] == "en"
    assert header["library_name"] == "transformers"
    assert header["pipeline_tag"] == "text-classification"
    assert header["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert {"attributions", "explainability"} <= set(header["tags"])
    assert "datasets" not in header  # trained on a local file
    results = ModelCard.load(published.folder / "README.md").data.eval_results
    assert {result.metric_name: result.metric_value for result in results} == {
        "Accuracy": 0.9125,
        "Macro precision": 0.9,
        "Macro recall": 0.905,
        "Macro F1": 0.9012,
    }
    assert {(r.dataset_type, r.dataset_config, r.dataset_split) for r in results} == {("owner/news", "en", "test")}


def test_card_names_data_figures_method_and_limits(card):
    body = html.unescape(card)
    assert "On 800 test rows of owner/news:en@test:" in body
    assert "| Accuracy | 0.9125 |" in body
    assert "train.parquet (1,200 rows)" in body
    assert "signed score" in body
    assert "The method is `damped_lrp`: this project: Ali et al. 2022" in body
    assert "not conservative" in body
    assert "patent" in body
    assert f"the Python files of this repository, attrib {ATTRIB_VERSION}:" in body


def test_card_of_a_conservative_method_says_what_the_residual_is(model_dir):
    config = AttribConfig.from_pretrained(model_dir, attribution_method="lrp")
    card = html.unescape(model_card(config, REPO_ID, {}, {}))
    assert "The method is `lrp`: Ali et al. 2022" in card
    assert "The method is conservative: the residual is the share of the model's biases" in card


def test_card_says_what_an_explanation_costs(model_dir):
    def card_of(method: str) -> str:
        return model_card(AttribConfig.from_pretrained(model_dir, attribution_method=method), REPO_ID, {}, {})

    assert "by one backward pass through it" in card_of("lrp")
    assert "out of its own forward pass" in card_of("attention_last")
    assert "by 40 more passes through it" in card_of("integrated_gradients")
    assert not any("own forward pass" in card_of(method) for method in ("damped_lrp", "integrated_gradients"))


def test_hostile_labels_break_neither_header_nor_html(card):
    header, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    assert yaml.safe_load(header)["license"] == "apache-2.0"
    rows = re.findall(r"<tr>\s*<td[^>]*>(\d+)</td>\s*<td[^>]*>(.*?)</td>\s*</tr>", rendered(body))
    assert [html.unescape(label) for _, label in rows] == [
        "World",
        "Sci/Tech",
        "</td><script>alert(1)</script> `x` | **B** [y](javascript:z) \ufffd --- license: evil --- # Owned",
    ]
    assert not re.search(r"<script|javascript:z\"|<h1>Owned|<hr", rendered(body))


def test_card_shows_a_picture_and_says_it_in_words(card, published):
    (alternative,) = re.findall(r'^<p><img src="explanation.png" alt="(.*)" /></p>$', rendered(card), re.MULTILINE)
    assert "“Stocks rally as oil prices fall.” is labelled" in html.unescape(alternative)
    assert re.search(r"the strongest words: \w+ [+-]\d\.\d\d, ", alternative)
    assert (published.folder / "explanation.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("assembled_only")
def test_card_explains_the_text_it_is_given(model_dir, tmp_path):
    example = 'the cup "won" $$ \\( ``` \n{oil} \u202e 漢'
    publish(model_dir, REPO_ID, output=tmp_path / "bundle", example=example)
    written = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    literals = re.findall(r"(?:classify|tokenizer)\((\".*?\")(?:\)\[0\]|, return)", written)
    assert [ast.literal_eval(literal) for literal in literals] == [example, example]
    assert not re.search(r"\$\$|\\\\\(", written)


@pytest.mark.usefixtures("assembled_only")
def test_text_that_cannot_be_drawn_leaves_a_card_without_a_picture_and_a_word_on_it(model_dir, tmp_path, capsys):
    publish(model_dir, REPO_ID, output=tmp_path / "bundle", example="הממשלה")
    assert "explanation.png" not in (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert not (tmp_path / "bundle" / "explanation.png").exists()
    assert "the model card has no picture: a script that runs from right to left" in capsys.readouterr().out


def test_empty_example_is_refused(model_dir):
    with pytest.raises(UserError, match="--example is empty"):
        publish(model_dir, REPO_ID, example=" \n")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("fancyzhx/ag_news@train", ("fancyzhx/ag_news@train", "fancyzhx/ag_news", None, "train")),
        ("nyu-mll/glue:sst2@validation", ("nyu-mll/glue:sst2@validation", "nyu-mll/glue", "sst2", "validation")),
        ("/home/somebody/secret/train.csv", ("train.csv", None, None, None)),
        ("C:\\Users\\somebody\\rows.jsonl", ("rows.jsonl", None, None, None)),
        ("data/train.parquet", ("train.parquet", None, None, None)),
        ("newswire:2000", ("newswire:2000 (generated, ships with the training code)", None, None, None)),
    ],
)
def test_data_is_named_as_the_recipe_names_it_without_its_folder(source, expected):
    found = read_data_source(source)
    assert (found.name, found.hub_id, found.config, found.split) == expected


def test_without_metrics_and_recipe_the_card_claims_nothing(model_dir):
    config = AttribConfig.from_pretrained(model_dir, attribution_method="saliency")
    card = model_card(config, REPO_ID, {"settings": {"backbone": str(model_dir)}}, {})
    header = yaml.safe_load(card.split("---\n")[1])
    assert not {"base_model", "datasets", "metrics", "model-index", "license", "language"} & set(header)
    assert "## Measured" not in card
    assert "## Training data" not in card
    assert "encoder of the type bert" in card
    assert "importance only" in card
    assert "signed score" not in card
    assert "not conservative" in card


def test_snippets_of_the_card_run(card, published, capsys):
    first, second = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    loaded = AttribForSequenceClassification.from_pretrained(published.folder)
    tokenizer = AutoTokenizer.from_pretrained(published.folder)

    def pipeline(task: str, model: str, trust_remote_code: bool) -> AttribTextClassificationPipeline:
        """Stands for transformers' own, which the proof has called: here it would fill the user's module cache."""
        assert (task, model, trust_remote_code) == ("text-classification", REPO_ID, True)
        return AttribTextClassificationPipeline(model=loaded, tokenizer=tokenizer, device="cpu")

    exec(first.replace("from transformers import pipeline\n", ""), {"pipeline": pipeline})
    printed = capsys.readouterr().out
    assert re.search(r"^[+-]\d+\.\d{3}  Stocks$", printed, re.MULTILINE)
    names: dict[str, object] = {}
    exec(second.replace(REPO_ID, str(published.folder)), names)
    out = names["out"]
    total = out.attributions.sum(dim=-1) + out.attribution_residual
    torch.testing.assert_close(total, out.logits.gather(1, out.attribution_target[:, None])[:, 0])


# Uploading -------------------------------------------------------------------------------------------------------


class Hub:
    """The calls that publishing makes, on a Hub that keeps what it is sent."""

    def __init__(self, public: bool = False, login: Exception | None = None) -> None:
        self.calls: list[tuple[str, dict]] = []
        self.received: dict[str, bytes] = {}
        self.public, self.login = public, login

    def whoami(self) -> None:
        if self.login is not None:
            raise self.login

    def create_repo(self, repo_id: str, **options) -> str:
        self.calls.append(("create_repo", {"repo_id": repo_id} | options))
        return f"https://hub.example/{repo_id}"

    def model_info(self, repo_id: str) -> SimpleNamespace:
        return SimpleNamespace(private=not self.public)

    def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str, delete_patterns: list[str]) -> None:
        # What an earlier version left: code, weights and tokenizer files go, what the owner added stays.
        stale = {
            name
            for name in ("old.py", "vocab.txt", "photo.png", "explanation.png")
            for p in delete_patterns
            if fnmatch(name, p)
        }
        self.calls.append(("upload_folder", {"repo_id": repo_id, "deleted": stale}))
        self.received = {file.name: file.read_bytes() for file in Path(folder_path).rglob("*")}


@pytest.mark.usefixtures("assembled_only")
def test_upload_sends_the_very_bundle_that_output_writes(model_dir, published, capsys):
    hub = Hub()
    publish(model_dir, REPO_ID, private=True, license_id="apache-2.0", language="en", api=hub)
    assert hub.calls == [
        ("create_repo", {"repo_id": REPO_ID, "private": True, "exist_ok": True}),
        ("upload_folder", {"repo_id": REPO_ID, "deleted": {"old.py", "vocab.txt", "explanation.png"}}),
    ]
    assert hub.received == contents_of(published.folder)
    assert capsys.readouterr().out.endswith(f"uploaded to https://hub.example/{REPO_ID}\n")


def test_failed_proof_reaches_no_hub_and_touches_no_output(model_dir, published, monkeypatch):
    def fail(*_) -> Proof:
        raise UserError("the proof failed")

    monkeypatch.setattr(upload, "prove_bundle", fail)
    hub = Hub()
    before = {file.name: file.read_bytes() for file in published.folder.iterdir()}
    with pytest.raises(UserError, match="the proof failed"):
        publish(model_dir, REPO_ID, api=hub)
    with pytest.raises(UserError, match="the proof failed"):
        publish(model_dir, "other/name", output=published.folder)
    assert hub.calls == []
    assert {file.name: file.read_bytes() for file in published.folder.iterdir()} == before
    assert not list(model_dir.parent.glob(".*"))


@pytest.mark.usefixtures("assembled_only")
def test_private_is_never_uploaded_into_a_public_repository(model_dir):
    hub = Hub(public=True)
    with pytest.raises(UserError, match="public, so nothing was uploaded"):
        publish(model_dir, REPO_ID, private=True, api=hub)
    assert hub.received == {}


@pytest.mark.usefixtures("assembled_only")
def test_newer_bundle_takes_the_place_of_an_earlier_one(copy, model_dir):
    (copy / "module_of_old.py").write_text("", encoding="utf-8")
    (copy / MANIFEST).unlink()
    write_manifest(copy, "a bundle")
    publish(model_dir, "other/name", output=copy)
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
        publish(model_dir, "other/name", output=copy)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before


@contextlib.contextmanager
def hub_that_answers(status: int, message: str):
    """The address of a server that knows the user, and answers anything else with `status`."""

    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            known = status != 401 and self.path == "/api/whoami-v2"
            body = b'{"name": "user"}' if known else json.dumps({"error": message}).encode()
            self.send_response(200 if known else status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 (the names that http.server calls)

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.usefixtures("assembled_only")
@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (401, "Invalid credentials", r"does not accept this login \(401.*hf auth login"),
        (403, "You need write access", r"may not write to user/tiny-attrib \(403, .*You need write access"),
        (500, "Out of order", r"refused user/tiny-attrib \(500\)"),
    ],
)
def test_refusals_of_a_hub_end_in_one_line(status, message, expected, model_dir, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with hub_that_answers(status, message) as address, pytest.raises(UserError, match=expected) as caught:
        publish(model_dir, REPO_ID, api=HfApi(endpoint=address, token="hf_test"))
    assert "\n" not in str(caught.value)


def test_no_network_no_login_and_offline_mode_each_have_their_line(model_dir, monkeypatch):
    with pytest.raises(UserError, match="not logged in"):
        publish(model_dir, REPO_ID, api=Hub(login=LocalTokenNotFoundError("no token\nat all")))
    nowhere = HfApi(endpoint="http://127.0.0.1:9", token="hf_test")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        publish(model_dir, REPO_ID, api=nowhere)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match="cannot be reached"):
        publish(model_dir, REPO_ID, api=nowhere)


# The command -----------------------------------------------------------------------------------------------------


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
