"""Where a run trains, and what follows from it: precision, optimiser, number of processes."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices
from transformers.utils import is_torch_bf16_gpu_available, is_torch_xla_available

from ..terminal.errors import UserError


@dataclass(frozen=True)
class Device:
    """What training needs to know of a device.

    Attributes:
        kind: torch's type of it: "cpu", "cuda", "xla", "mps" ...
        name: as its maker calls it, or the kind.
        bfloat16: whether it computes in bfloat16; emulation does not count, it is ten times slower than float32.
        fused_optimizer: whether torch's fused AdamW, the Trainer's default, runs on it.
    """

    kind: str
    name: str
    bfloat16: bool
    fused_optimizer: bool


def find_device(use_cpu: bool = False) -> Device:
    """The device on which the Trainer will train: XLA's where torch_xla is installed, else an accelerator or the CPU.

    Call it before the first backward pass of a process: autograd counts the devices then, and XLA's are not there
    before they were asked for.

    Args:
        use_cpu: as in `TrainingArguments`; like the Trainer, XLA does not listen to it.
    """
    if is_torch_xla_available():
        import torch_xla
        from torch_xla import runtime

        torch_xla.device()
        hardware = runtime.device_type()
        return _device("xla", f"XLA on {hardware}", bfloat16=hardware == "TPU")
    if use_cpu or parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available():
        return _device("cpu", "cpu", bfloat16=computes_in_bfloat16())
    kind = torch.accelerator.current_accelerator().type
    if kind == "cuda":
        emulated = {"including_emulation": False}
        return _device(kind, torch.cuda.get_device_name(), bfloat16=torch.cuda.is_bf16_supported(**emulated))
    return _device(kind, kind, bfloat16=kind != "mps" and is_torch_bf16_gpu_available())  # Apple's first emulate it


def _device(kind: str, name: str, bfloat16: bool) -> Device:
    return Device(kind, name, bfloat16, fused_optimizer=kind in _get_fused_kernels_supported_devices())


def computes_in_bfloat16() -> bool:
    """Whether this processor has bfloat16 arithmetic, and torch's kernels use it."""
    return (
        torch.backends.mkldnn.is_available()  # not in every build of torch
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        and torch.cpu._is_avx512_bf16_supported()
    )


def fit_to_device(training: Mapping[str, Any], device: Device) -> tuple[dict[str, Any], str]:
    """Training arguments as the device needs them, and a line that says in which precision it will train.

    `bf16: auto` becomes true where the device computes in bfloat16, unless `fp16` is asked for. What the recipe says
    itself stays.

    Args:
        training: arguments of `TrainingArguments`.
        device: where they will be used.
    """
    fitted = {"dataloader_pin_memory": device.kind == "cuda", **training}
    if fitted.get("bf16") == "auto":
        fitted["bf16"] = device.bfloat16 and not fitted.get("fp16")
    if device.kind == "cpu":
        fitted["use_cpu"] = True  # else the Trainer refuses bfloat16, and several processes train a model each
    if not device.fused_optimizer:
        fitted.setdefault("optim", "adamw_torch")
    precision = "bfloat16" if fitted.get("bf16") else "float16" if fitted.get("fp16") else "float32"
    reason = ""
    if training.get("bf16") == "auto" and not training.get("fp16"):
        reason = f" (bf16: auto; this device {'computes' if device.bfloat16 else 'does not compute'} in bfloat16)"
    return fitted, f"training on {device.name} in {precision}{reason}"


def started_processes(environment: Mapping[str, str]) -> int:
    """How many processes were started to train together.

    Raises:
        UserError: if `accelerate launch` was asked for several and started one, as it does without a GPU; naming the
            command that starts several. All that it leaves of the number is the address where they would have met.
    """
    ranks = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
    alone = "ACCELERATE_USE_CPU" in environment and not any(rank in environment for rank in ranks)
    if alone and "MASTER_ADDR" in environment:
        raise UserError(
            "accelerate launch was asked for several processes, but starts only one without a GPU: "
            f"torchrun --standalone --nproc_per_node 2 {shlex.join(sys.argv)}"
        )
    return int(environment.get("WORLD_SIZE", 1))
