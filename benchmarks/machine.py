"""What the figures depend on: the processor, its instruction sets, and the kernel libraries that use them."""

import importlib.util
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


# Instruction sets that matrix products are written for; of these, those that a processor has are named.
_WIDE = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "bf16",
    "i8mm",
)
_FORCED = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
_PROBE = """
import torch
torch.nn.functional.conv2d(torch.ones(1, 64, 32, 32), torch.ones(64, 64, 3, 3))
"""


def describe_machine() -> dict[str, Any]:
    """Name, cores, instruction sets, what was forced, the libraries' versions, and the load."""
    info = _processor_info()
    flags = re.split(r"\s+", info.get("flags", info.get("Features", "")))
    return {
        "processor": info.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "instruction_sets": [name for name in _WIDE if name in flags],
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "onednn_isa": _onednn_isa(),
        "forced": {name: os.environ[name] for name in _FORCED if name in os.environ},
        "libraries": _libraries(),
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def processor_slug(machine: dict[str, Any]) -> str:
    """A file name for the processor as its kernels use it: "intel-xeon-avx512-bf16-amx".

    Virtual machines name processors vaguely, and a forced instruction set makes another processor of the same one.
    """
    isa = (machine.get("onednn_isa") or "").lower()
    name = re.sub(r"\((r|tm)\)|\bprocessor\b|\bcpu\b|@.*", " ", machine["processor"].lower())
    kinds = [kind for kind, sign in (("bf16", "bfloat16"), ("amx", "amx")) if sign in isa]
    words = f"{name} {machine['vector_instructions'].lower()} {' '.join(kinds)}"
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")


def machine_sentence(machine: dict[str, Any]) -> str:
    """The machine in one sentence, with what is known of it."""
    kernels = f"torch's own kernels for {machine['vector_instructions']}"
    parts = [machine["processor"], f"{machine['cores']} cores", kernels]
    if machine.get("instruction_sets"):
        parts.insert(2, f"instruction sets {' '.join(machine['instruction_sets'])}")
    if machine.get("onednn_isa"):
        parts.append(f"oneDNN for {machine['onednn_isa']}")
    parts += [library.replace("Version ", "v") for library in machine.get("libraries", [])]
    parts += [f"{name}={value} was set" for name, value in machine.get("forced", {}).items()]
    return f"{', '.join(parts)}, Python {machine['python']}, load {machine['load_at_start']} when it started."


def _processor_info() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _onednn_isa() -> str | None:
    """The instruction set that oneDNN chose, in its own words; it says so in a log of its first call only."""
    environment = os.environ | {"ONEDNN_VERBOSE": "1"}
    log = subprocess.run([sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True).stdout
    found = re.search(r"^onednn_verbose,.*info,cpu,isa:(.*)$", log, re.MULTILINE)
    return found.group(1).strip() if found else None


def _libraries() -> list[str]:
    """Kernel libraries of torch, as `torch.__config__.show()` names them, and onnxruntime."""
    shown = re.findall(r"- (.*(?:Math Kernel Library|MKL-DNN|OpenMP).*)", torch.__config__.show())
    names = [re.sub(r"[\s-]*(Product Build|\(Git Hash|for Intel).*", "", line.strip()) for line in shown]
    runtime = [f"onnxruntime {version('onnxruntime')}"] if importlib.util.find_spec("onnxruntime") else []
    return names + runtime
