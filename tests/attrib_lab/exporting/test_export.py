"""Exported files: equal to the model where they were not recorded, honest about what they lose, refused otherwise."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from architectures import batch, build, zero_biases
from toy_data import write_backbone
from transformers import AutoTokenizer

from attrib_lab.commands import build_parser
from attrib_lab.exporting import check, export
from attrib_lab.exporting.export import export_model
from attrib_lab.terminal.errors import UserError
from modeling_attrib import AttribConfig, AttribForSequenceClassification, AttribTextClassificationPipeline
from modeling_attrib.onnx_attrib import OnnxAttributions


LABELS = {0: "sports", 1: "business", 2: "<b>other</b>"}
TEXTS = ["the striker said the goal was new", "stocks of the old bank", "", "profit", "match match match"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder as training leaves it, with weights large enough to tell labels apart."""
    path = tmp_path_factory.mktemp("model")
    write_backbone(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AttribForSequenceClassification.from_backbone(
        str(path), id2label=LABELS, label2id={name: index for index, name in LABELS.items()}
    )
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def onnx_folder(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("onnx")
    export_model(folder, output, "onnx")
    return output


def pipeline(folder, **options):
    model = AttribForSequenceClassification.from_pretrained(folder).eval()
    return AttribTextClassificationPipeline(model=model, tokenizer=AutoTokenizer.from_pretrained(folder), **options)


def numbers(result):
    """Every number in a pipeline's answer, in order."""
    if isinstance(result, dict):
        return [number for value in result.values() for number in numbers(value)]
    if isinstance(result, list):
        return [number for value in result for number in numbers(value)]
    return [result] if isinstance(result, (int, float)) else []


def _flat(results):
    return [entry for result in results for entry in (result if isinstance(result, list) else [result])]


@pytest.mark.parametrize(
    "question", [{}, {"top_k": None}, {"target": "business", "contrast": "sports"}, {"attributions": False}]
)
def test_pipeline_through_onnx_answers_the_same(folder, onnx_folder, question):
    texts = [*TEXTS, " ".join(["goal bank"] * 90)]  # the last is read in windows
    plain, fast = pipeline(folder), pipeline(folder, onnx_file=str(onnx_folder / "model.onnx"))
    fast.model.forward = None  # whatever answers, it is not the torch model
    expected, found = plain(texts, **question), fast(texts, **question)
    np.testing.assert_allclose(numbers(found), numbers(expected), atol=1e-5)
    assert [entry["label"] for entry in _flat(found)] == [entry["label"] for entry in _flat(expected)]


def test_batches_through_onnx(folder, onnx_folder):
    fast = pipeline(folder, onnx_file=str(onnx_folder / "model.onnx"))
    np.testing.assert_allclose(numbers(fast(TEXTS, batch_size=3)), numbers(pipeline(folder)(TEXTS)), atol=1e-5)


def test_without_a_mask_every_token_is_real_through_onnx(folder, onnx_folder):
    model = AttribForSequenceClassification.from_pretrained(folder).eval()
    file, ids = OnnxAttributions(str(onnx_folder / "model.onnx"), model), batch((9, 9))["input_ids"] % 20
    with torch.no_grad():
        expected = model(input_ids=ids)
    torch.testing.assert_close(file(input_ids=ids).attributions, expected.attributions, rtol=1e-4, atol=1e-5)


def test_file_and_folder_say_what_they_are(folder, onnx_folder):
    session = onnxruntime.InferenceSession(onnx_folder / "model.onnx")
    said = json.loads((onnx_folder / "attrib.json").read_text())
    assert [entry.name for entry in session.get_inputs()] == said["inputs"]
    assert [entry.name for entry in session.get_outputs()] == said["outputs"] == [
        "logits", "attributions", "explained_target",
    ]  # fmt: skip
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["attrib_id2label"]) == {str(k): v for k, v in LABELS.items()}
    assert json.loads(metadata["attrib_attribution_method"]) == "damped_lrp"
    assert "problem_type" in said, "without it a reader cannot tell softmax from sigmoid"
    assert AutoTokenizer.from_pretrained(onnx_folder)("goal").input_ids


def test_onnx_file_of_another_model_is_refused(folder, onnx_folder, tmp_path):
    backbone = AttribConfig.from_pretrained(folder).backbone_config
    other = AttribForSequenceClassification.from_backbone(backbone, num_labels=5)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(ValueError, match="exported from another model"):
        AttribTextClassificationPipeline(model=other, tokenizer=tokenizer, onnx_file=str(onnx_folder / "model.onnx"))
    with pytest.raises(ValueError, match="computes attribution method 'damped_lrp'"):
        pipeline(folder, onnx_file=str(onnx_folder / "model.onnx"))("goal", method="attn_lrp")
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be loaded"):
        pipeline(folder, onnx_file=str(tmp_path / "broken.onnx"))


def test_onnx_file_of_other_weights_is_refused(folder, onnx_folder):
    model = AttribForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        model.classifier.bias.add_(1e-3)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(ValueError, match="its weights is"):
        AttribTextClassificationPipeline(model=model, tokenizer=tokenizer, onnx_file=str(onnx_folder / "model.onnx"))


@pytest.mark.parametrize("target", [7, -2, "World", torch.tensor([0])])
def test_no_label_is_refused_through_onnx(folder, onnx_folder, target):
    model = AttribForSequenceClassification.from_pretrained(folder).eval()
    file = OnnxAttributions(str(onnx_folder / "model.onnx"), model)
    ids = torch.tensor([[2, 5, 3], [2, 6, 3]])
    with pytest.raises(ValueError, match="attribution_target"):
        file(input_ids=ids, attention_mask=torch.ones_like(ids), attribution_target=target)


def test_every_label_through_onnx(folder, onnx_folder):
    model = AttribForSequenceClassification.from_pretrained(folder).eval()
    file = OnnxAttributions(str(onnx_folder / "model.onnx"), model)
    ids = torch.tensor([[2, 5, 9, 3], [2, 6, 16, 3]])
    tensors = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    for question in ({"attribution_target": "all"}, {"attribution_target": torch.tensor([2, 0])}):
        with torch.no_grad():
            expected = model(**tensors, **question, attribution_contrast=1)
        found = file(**tensors, **question, attribution_contrast=1)
        for name in ("logits", "attributions", "attribution_target", "attribution_residual"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5)


def test_without_onnxruntime_one_sentence(folder, onnx_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="pip install onnxruntime"):
        pipeline(folder, onnx_file=str(onnx_folder / "model.onnx"))


def test_torch_export_answers_the_same(folder, tmp_path):
    file = export_model(folder, tmp_path / "out", "pt2")
    extra = {"attrib.json": ""}
    graph = torch.export.load(file, extra_files=extra).module()
    names = json.loads(extra["attrib.json"])["inputs"]
    model = AttribForSequenceClassification.from_pretrained(folder).eval()
    inputs = check.random_inputs(model, names, 4, 17, seed=99)
    found, expected = graph(*(inputs[n] for n in names)), check.expected_answer(model, inputs)
    for f, e in zip(found, expected):
        torch.testing.assert_close(f, e, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "format", ["pt2", pytest.param("onnx", marks=pytest.mark.slow), pytest.param("aoti", marks=pytest.mark.slow)]
)
def test_a_head_that_reads_one_token(format, folder, tmp_path):
    model = AttribForSequenceClassification.from_pretrained(folder)
    model.config.pooling = "cls"
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "model")
    export_model(tmp_path / "model", tmp_path / "out", format)  # refuses a difference over 1e-5 on any of 20 shapes


def test_a_graph_that_differs_is_refused(folder, tmp_path, monkeypatch):
    write = export._WRITERS["pt2"]

    def write_wrong(*arguments):
        run = write(*arguments)
        return lambda inputs: [value + 1e-3 for value in run(inputs)]

    monkeypatch.setitem(export._WRITERS, "pt2", write_wrong)
    with pytest.raises(UserError, match="differs from the model"):
        export_model(folder, tmp_path / "out", "pt2")
    assert not (tmp_path / "out").exists()


def test_a_graph_of_nan_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(export._WRITERS, "pt2", lambda *a: lambda inputs: [torch.full((1,), torch.nan)] * 3)
    with pytest.raises(UserError, match="differs from the model by nan"):
        export_model(folder, tmp_path / "out", "pt2")


def test_bf16_says_what_it_loses(folder, tmp_path):
    export_model(folder, tmp_path / "out", "pt2", "bf16", texts=TEXTS, allow_loss=True)
    loss = json.loads((tmp_path / "out" / "attrib.json").read_text())["precision_loss"]
    assert loss["texts"] == len(TEXTS)
    assert 0.5 < loss["correlation"] < 1


def test_too_great_a_loss_is_refused(folder, tmp_path, monkeypatch):
    loss = check.PrecisionLoss(labels_kept=0.985, correlation=0.99, lowest_correlation=0.9, texts=5)
    monkeypatch.setattr(export, "measure_loss", lambda *a: loss)
    with pytest.raises(UserError, match=r"98\.50%"):
        export_model(folder, tmp_path / "out", "pt2", "bf16", texts=TEXTS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "onnx", "precision": "bf16"}, "onnx is written in fp32 or int8"),
        ({"format": "pt2", "precision": "bf16"}, "needs --data"),
        ({"format": "pt2", "texts": TEXTS}, "fp32 loses nothing"),
        ({"model_dir": "/nowhere"}, "no such folder"),
    ],
)
def test_impossible_wishes(folder, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        export_model(**({"model_dir": folder, "output": tmp_path / "out"} | arguments))


def test_one_graph_a_folder(folder, onnx_folder):
    with pytest.raises(UserError, match=r"already holds model\.onnx"):
        export_model(folder, onnx_folder, "pt2")


def test_a_model_is_not_replaced_by_its_graph(folder, tmp_path):
    """A model as `save_pretrained` leaves it, without a note of what it wrote; by another path, too."""
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "link").symlink_to(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    for output in ("model", "link"):
        with pytest.raises(UserError, match="model holds a trained model, which an exported graph would replace"):
            export_model(tmp_path / "model", tmp_path / output, "pt2")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "model"]


def test_what_the_format_cannot_do_is_one_line(folder, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("no such operator\nand forty lines more")

    monkeypatch.setattr(torch.export, "save", fail)
    with pytest.raises(UserError, match=r"cannot be written as pt2: no such operator$"):
        export_model(folder, tmp_path / "out", "pt2")
    assert not (tmp_path / "out").exists()


def test_int8_loses_what_it_says(folder, tmp_path):
    """Random weights are harsher than trained ones: what is measured here is that the loss is measured."""
    export_model(folder, tmp_path / "out", "onnx", "int8", texts=TEXTS, allow_loss=True)
    loss = json.loads((tmp_path / "out" / "attrib.json").read_text())["precision_loss"]
    assert loss["texts"] == len(TEXTS)
    assert 0.5 < loss["correlation"] < 1
    plain, fast = pipeline(folder), pipeline(folder, onnx_file=str(tmp_path / "out" / "model.onnx"))
    agreement = [a["label"] == b["label"] for a, b in zip(fast(TEXTS), plain(TEXTS))]
    assert sum(agreement) / len(agreement) == pytest.approx(loss["labels_kept"])


def test_int8_of_a_graph_whose_weights_are_transposed_on_the_way(tmp_path):
    """Folding turns the Gemm's weight round, and its written shape was no longer true: (6, 4) is told from (4, 6)."""
    plain = torch.nn.Sequential(torch.nn.Linear(16, 6), torch.nn.Linear(6, 4)).eval()
    inputs = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    torch.onnx.export(plain, (inputs,), tmp_path / "plain.onnx", dynamo=True, external_data=False, verbose=False)
    export.quantize(tmp_path / "plain.onnx", tmp_path / "int8.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    expected = plain(inputs).detach().numpy()
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert not list(tmp_path.glob("*.prepared"))


_FRESH_PROCESS = """
import sys
sys.modules |= {"modeling_attrib": None, "attrib_lab": None, "transformers": None}
import torch
file, inputs, output = sys.argv[1:]
graph = torch._inductor.aoti_load_package(file)
torch.save([graph.get_metadata()["attribution_method"], *graph(*torch.load(inputs, weights_only=True))], output)
"""


def test_compiled_file_answers_the_same_in_a_process_without_this_package(folder, tmp_path):
    file = export_model(folder, tmp_path / "out", "aoti")
    said = json.loads((tmp_path / "out" / "attrib.json").read_text())
    model = AttribForSequenceClassification.from_pretrained(folder).eval()
    inputs = check.random_inputs(model, said["inputs"], 4, 17, seed=99)
    torch.save([inputs[n] for n in said["inputs"]], tmp_path / "inputs")
    command = [sys.executable, "-c", _FRESH_PROCESS, file, tmp_path / "inputs", tmp_path / "found"]
    subprocess.run(command, check=True, cwd=tmp_path)
    method, *found = torch.load(tmp_path / "found", weights_only=True)
    for f, e in zip(found, check.expected_answer(model, inputs), strict=True):
        torch.testing.assert_close(f, e, rtol=1e-5, atol=1e-6)
    assert json.loads(method) == "damped_lrp"


@pytest.fixture(scope="module")
def onnxruntime_folder(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("onnxruntime")
    export_model(folder, output, "onnxruntime")  # refuses a difference over 1e-5 on any of 20 shapes
    return output


def test_onnxruntime_has_its_own_attention(folder, onnx_folder, onnxruntime_folder):
    """Two calls a layer, and no softmax of tokens × tokens; the portable file has nothing but ONNX."""
    import onnx

    def operators(path):
        return [(node.domain, node.op_type) for node in onnx.load(path / "model.onnx").graph.node]

    layers = AttribForSequenceClassification.from_pretrained(folder).num_layers
    assert operators(onnxruntime_folder).count(("com.microsoft", "MultiHeadAttention")) == 2 * layers
    assert ("", "Softmax") not in operators(onnxruntime_folder)
    assert {domain for domain, _ in operators(onnx_folder)} == {""}


def test_pipeline_through_onnxruntimes_attention_answers_the_same(folder, onnxruntime_folder):
    texts = [*TEXTS, " ".join(["goal bank"] * 90)]  # the last is read in windows
    fast = pipeline(folder, onnx_file=str(onnxruntime_folder / "model.onnx"))
    expected = numbers(pipeline(folder)(texts))
    np.testing.assert_allclose(numbers(fast(texts, batch_size=3)), expected, atol=1e-5)


def test_measured_loss_by_hand():
    """Two texts: one keeps its label, and scores that correlate by 1 and by -1."""
    answers = {
        "a": (torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0]])),
        "b": (torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0]])),
    }

    def model(text):
        logits, scores = answers[text]
        return SimpleNamespace(logits=logits, attributions=scores, attribution_target=logits.argmax(-1))

    def run(inputs):
        logits, scores = answers[inputs["text"]]
        return (logits, 2 * scores, None) if inputs["text"] == "a" else (-logits, -scores, None)

    loss = check.measure_loss(run, model, lambda text, **_: {"text": text}, ["text"], ["a", "b"], limit=64)
    assert loss.labels_kept == 0.5
    assert loss.correlation == pytest.approx(0.0, abs=1e-12)
    assert loss.lowest_correlation == pytest.approx(-1.0)


def test_command_line_reads_its_example(tmp_path):
    parsed = build_parser().parse_args(["export", "outputs/demo", "--format", "onnx", "--output", str(tmp_path)])
    assert (parsed.format, parsed.precision, parsed.model_dir) == ("onnx", "fp32", "outputs/demo")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["bert", "roberta", "distilbert", "electra", "albert", "mpnet", "deberta-v2", "modernbert"]
)
def test_every_encoder_through_onnx_on_twenty_shapes(name, folder, tmp_path):
    model = build(name, dtype=torch.float32, attribution_method="lrp")  # which conserves, without biases
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "model")
    export_model(tmp_path / "model", tmp_path / "out", "onnx")  # refuses a difference over 1e-5 on any of 20 shapes
    zero_biases(model)
    model.save_pretrained(tmp_path / "unbiased")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "unbiased")
    export_model(tmp_path / "unbiased", tmp_path / "conserved", "onnx")
    file = OnnxAttributions(str(tmp_path / "conserved" / "model.onnx"), model)
    answer = file(**batch((5, 12)))
    size = answer.logits.abs().max()
    assert size > 0
    assert answer.attribution_residual.abs().max() <= 1e-5 * max(1.0, float(size))
