"""What a plain `pip install` leaves out: modules of the package's extras, and how to get one that is missing."""

import shlex
from pathlib import Path


EXTRAS = {
    "lab": (
        "accelerate",
        "datasets",
        "evaluate",
        "matplotlib",
        "pyarrow",
        "scipy",
        "sklearn",
    ),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "captum": ("captum",),
    "serve": ("fastapi", "pydantic", "starlette", "uvicorn"),
}


def package_name(root: Path) -> str:
    """What pip installs: the package by its name, or the checkout that `root`, the folder of its code, is."""
    return str(root) if (root / "setup.cfg").is_file() else "attrib"


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """One line on the extra that brings the missing module; None if no extra does."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            package = shlex.quote(f"{package_name(Path(__file__).resolve().parents[2])}[{extra}]")
            return f"{module} is not installed; what needs it comes with: pip install {package}"
    return None
