"""Which precision, optimiser and number of processes follow from a device, whatever this machine is."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
import yaml
from accelerate.commands.launch import launch_command, launch_command_parser

from attrib_lab.recipes.loading import RECIPE_FOLDER
from attrib_lab.terminal.errors import UserError
from attrib_lab.training import devices
from attrib_lab.training.devices import Device, find_device, fit_to_device, started_processes


def device(kind, bfloat16, fused=True):
    return Device(kind, kind, bfloat16, fused)


CPU, OLD_CPU = device("cpu", True), device("cpu", False)
GPU, OLD_GPU = device("cuda", True), device("cuda", False)
TPU, XLA_CPU = device("xla", True, fused=False), device("xla", False, fused=False)


@pytest.mark.parametrize(
    ("where", "asked", "bf16", "precision"),
    [
        (CPU, {"bf16": "auto"}, True, "bfloat16"),
        (OLD_CPU, {"bf16": "auto"}, False, "float32"),
        (OLD_CPU, {"bf16": True}, True, "bfloat16"),  # who says true gets it, emulated
        (CPU, {"bf16": False}, False, "float32"),
        (CPU, {}, None, "float32"),
        (GPU, {"bf16": "auto"}, True, "bfloat16"),
        (GPU, {"bf16": "auto", "fp16": True}, False, "float16"),
        (OLD_GPU, {"bf16": "auto"}, False, "float32"),
        (TPU, {"bf16": "auto"}, True, "bfloat16"),
        (XLA_CPU, {"bf16": "auto"}, False, "float32"),
    ],
)
def test_precision_is_what_the_device_computes_in(where, asked, bf16, precision):
    fitted, said = fit_to_device(asked, where)
    assert fitted.get("bf16") is bf16
    assert said.startswith(f"training on {where.name} in {precision}")
    assert "\n" not in said
    assert ("bf16: auto" in said) is (asked == {"bf16": "auto"})


@pytest.mark.parametrize("where", [CPU, OLD_CPU, GPU, TPU])
def test_only_a_processor_is_named_to_the_trainer(where):
    assert fit_to_device({"bf16": "auto"}, where)[0].get("use_cpu") is (True if where.kind == "cpu" else None)


def test_the_fused_optimizer_is_left_where_it_runs():
    assert fit_to_device({}, TPU)[0]["optim"] == "adamw_torch"
    assert fit_to_device({"optim": "adafactor"}, TPU)[0]["optim"] == "adafactor"
    assert "optim" not in fit_to_device({}, GPU)[0]
    assert "optim" not in fit_to_device({}, CPU)[0]


def test_memory_is_pinned_for_gpus_unless_the_recipe_says_otherwise():
    assert fit_to_device({}, GPU)[0]["dataloader_pin_memory"]
    assert not fit_to_device({}, CPU)[0]["dataloader_pin_memory"]
    assert not fit_to_device({"dataloader_pin_memory": False}, GPU)[0]["dataloader_pin_memory"]


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be a machine: an accelerator's kind or None, and what its processor computes in."""

    def pretend(accelerator, bfloat16):
        monkeypatch.setattr(devices, "is_torch_xla_available", lambda: False)
        monkeypatch.setattr(devices, "computes_in_bfloat16", lambda: bfloat16)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator is not None)
        kind = SimpleNamespace(type=accelerator)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: kind)
        monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)

    return pretend


@pytest.mark.parametrize("bfloat16", [True, False])
def test_a_processor_is_found(machine, bfloat16):
    machine(None, bfloat16)
    assert find_device() == Device("cpu", "cpu", bfloat16, fused_optimizer=True)


@pytest.mark.parametrize("bfloat16", [True, False])
def test_a_gpu_is_found_unless_the_processor_is_asked_for(machine, bfloat16, monkeypatch):
    machine("cuda", True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16 or including_emulation)
    assert find_device() == Device("cuda", "a GPU", bfloat16, fused_optimizer=True)
    assert find_device(use_cpu=True).kind == "cpu"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")  # accelerate launch --cpu
    assert find_device().kind == "cpu"


@pytest.mark.parametrize(("hardware", "bfloat16"), [("TPU", True), ("CPU", False)])
def test_xla_is_found_and_takes_no_fused_optimizer(machine, monkeypatch, hardware, bfloat16):
    machine(None, True)
    xla = ModuleType("torch_xla")
    touched = []
    xla.device = lambda: touched.append("device")
    xla.runtime = SimpleNamespace(device_type=lambda: hardware)
    monkeypatch.setitem(sys.modules, "torch_xla", xla)
    monkeypatch.setattr(devices, "is_torch_xla_available", lambda: True)
    assert find_device(use_cpu=True) == Device("xla", f"XLA on {hardware}", bfloat16, fused_optimizer=False)
    assert touched == ["device"], "autograd would not know it, once a backward pass has run elsewhere"


LAUNCHED = {"ACCELERATE_USE_CPU": "True", "ACCELERATE_MIXED_PRECISION": "no"}
SEVERAL = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("environment", "count"),
    [({}, 1), (LAUNCHED, 1), (SEVERAL, 1), (SEVERAL | {"RANK": "1", "WORLD_SIZE": "4"}, 4)],
)
def test_processes_are_counted(environment, count):
    assert started_processes(environment) == count


def test_one_process_where_several_were_asked_for_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "demo", "--text", "the body"])
    with pytest.raises(UserError, match=r"torchrun --standalone --nproc_per_node 2 train.py demo --text 'the body'$"):
        started_processes(LAUNCHED | SEVERAL)


def test_no_number_of_processes_reaches_a_tpu_host(monkeypatch):
    """Our configuration says so. If this fails, accelerate passes num_processes on: the configuration may name it."""
    file = RECIPE_FOLDER / "accelerate" / "tpu.yaml"
    spawned = []
    spawner = ModuleType("torch_xla.distributed.xla_multiprocessing")
    spawner.spawn = lambda *arguments, **options: spawned.append((arguments[1:], options))
    packages = ("torch_xla", "torch_xla.distributed")
    for module in (*map(ModuleType, packages), spawner):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys.modules["torch_xla.distributed"], "xla_multiprocessing", spawner, raising=False)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "path", [*sys.path])
    script = str(RECIPE_FOLDER.parent / "train.py")
    command = ["--config_file", str(file), "--num_processes", "8", script, "demo"]
    launch_command(launch_command_parser().parse_args(command))
    assert spawned == [((), {"args": ()})]
    assert sys.argv == [script, "demo"]
    assert yaml.safe_load(file.read_text())["num_processes"] == 1


def test_a_torch_without_onednn_computes_in_no_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", None)
    assert devices.computes_in_bfloat16() is False
