"""The device that device tests run on, `$ATTRIB_TEST_DEVICE`: a CPU by default, where the same tests are smaller."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode


DEVICE = torch.device(os.environ.get("ATTRIB_TEST_DEVICE", "cpu"))
ON_GPU = DEVICE.type == "cuda"
needs_device = pytest.mark.skipif(
    ON_GPU and not torch.cuda.is_available(), reason="ATTRIB_TEST_DEVICE=cuda, and torch finds no CUDA device"
)

# Kernel of scaled_dot_product_attention -> (what it is called by, the types that it takes, whether it takes padding).
_HALF = (torch.bfloat16, torch.float16)
_GPU_KERNELS = {
    SDPBackend.FLASH_ATTENTION: ("_scaled_dot_product_flash_attention", _HALF, False),
    SDPBackend.EFFICIENT_ATTENTION: ("_scaled_dot_product_efficient_attention", (torch.float32, *_HALF), True),
    SDPBackend.CUDNN_ATTENTION: ("_scaled_dot_product_cudnn_attention", _HALF, True),
    SDPBackend.MATH: ("softmax", (torch.float32, *_HALF), True),
}
_CPU_KERNELS = {
    SDPBackend.FLASH_ATTENTION: ("_scaled_dot_product_flash_attention", (torch.float32, *_HALF), True),
    SDPBackend.MATH: ("softmax", (torch.float32, *_HALF), True),
}
KERNELS = [
    pytest.param(kernel, name, dtype, padded, id=f"{kernel.name}-{dtype}-{'padded' if padded else 'full'}")
    for kernel, (name, types, takes_padding) in (_GPU_KERNELS if ON_GPU else _CPU_KERNELS).items()
    for dtype in types
    for padded in {False, takes_padding}
]


@contextmanager
def exact_float32() -> Iterator[None]:
    """Without TF32, which computes float32 products of matrices with ten bits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Operations(TorchDispatchMode):
    """Names of all operations of forward and backward passes, and the size of the largest tensor that one made."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.names.add(func.overloadpacket.__name__)
        for tensor in output if isinstance(output, (tuple, list)) else (output,):
            if isinstance(tensor, torch.Tensor):
                # What lies in memory: a mask that is expanded over heads is there once.
                sizes = [size for size, stride in zip(tensor.shape, tensor.stride()) if stride]
                self.largest = max(self.largest, torch.Size(sizes).numel())
        return output


def forced(kernel: SDPBackend) -> Any:
    """That kernel of scaled_dot_product_attention and no other: what it does not take raises."""
    return sdpa_kernel([kernel])
