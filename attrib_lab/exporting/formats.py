"""The formats of an exported graph: light to import, so that the command line knows them before anything is loaded."""

FORMATS = {
    "onnx": "model.onnx",
    "onnxruntime": "model.onnx",
    "pt2": "model.pt2",
    "aoti": "model_compiled.pt2",
}
PRECISIONS = {
    "onnx": ("fp32", "int8"),
    "onnxruntime": ("fp32", "int8"),
    "pt2": ("fp32", "bf16"),
    "aoti": ("fp32", "bf16"),
}
