"""The snippets of a model card, pinned to a revision: each is run by a test as it stands."""

from ..markdown_text import python_literal
from .card_facts import CardFacts


_NOT_RECORDED = ("integrated_gradients", "random")  # what `attrib export` cannot write as one graph
_TOKENIZERS_OF_PAGE = ("bert", "distilbert", "electra")  # whose kind of tokenizer the page reads

_PYTHON = """\
```python
from transformers import pipeline

classify = pipeline(
    "text-classification", model="{repo_id}", revision="{revision}", trust_remote_code=True
)
result = classify({example})[0]
print(result["label"], result["score"])
for part in result["attributions"]:
    print(f"{{part['score']:+.3f}}  {{part['word']}}")
```

Everything that the stock pipeline accepts works. Beyond it, `target="a label"` explains another label,
`contrast="a label"` asks why the one and not the other, and `aggregation="token"` or `"sentence"` changes
the unit. Texts longer than the model's limit are read in overlapping windows; nothing is cut.

The model itself:

```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

pinned = {{"revision": "{revision}", "trust_remote_code": True}}
tokenizer = AutoTokenizer.from_pretrained("{repo_id}", **pinned)
model = AutoModelForSequenceClassification.from_pretrained("{repo_id}", **pinned)
with torch.no_grad():
    out = model(**tokenizer({example}, return_tensors="pt"))
print(out.logits)  # (texts, labels)
print(out.attributions)  # (texts, tokens): toward out.attribution_target, 0 at padding
print(out.attribution_target)  # (texts,): the explained label, by default the predicted one
print(out.attribution_residual)  # (texts,): what no token accounts for
```
"""

_ONNX = """
As one ONNX file, which onnxruntime runs in torch's place. `attrib` is the command of the project that the code is from:

```bash
hf download {repo_id} --revision {revision} --local-dir model
attrib export model --format onnx --output exported
```

```python
from transformers import pipeline

classify = pipeline(
    "text-classification", model="model", trust_remote_code=True, onnx_file="exported/model.onnx"
)
print(classify({example}))
```
"""

_BROWSER = """
As a page that needs no server and keeps the text to itself, in a clone of that project, with `model` from above:

```bash
make browser MODEL=model
```
"""


def snippets(facts: CardFacts) -> str:
    """Snippets for the pipeline, the model, ONNX and the browser: those that this model can be used by."""
    parts = [_PYTHON]
    if facts.config.attribution_method not in _NOT_RECORDED:
        parts.append(_ONNX)
        if facts.config.backbone_config.model_type in _TOKENIZERS_OF_PAGE:
            parts.append(_BROWSER)
    fields = {"repo_id": facts.repo_id, "revision": facts.revision, "example": python_literal(facts.example)}
    return "".join(part.format(**fields) for part in parts)
