"""What a plain `pip install` leaves out: modules of the package's extras, and how to get one that is missing."""

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
    "peers": ("captum",),
}


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """One line on the extra that brings the missing module; None if no extra does."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            return f"{module} is not installed; what needs it comes with: pip install 'attrib[{extra}]'"
    return None
