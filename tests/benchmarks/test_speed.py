"""The speed benchmark: one report a processor, and a killed run that goes on."""

import json

import pytest

from benchmarks import speed
from benchmarks.machine import describe_machine, machine_sentence, processor_slug
from benchmarks.progress import Progress
from benchmarks.report import SAME_KERNELS, write_index, write_report


AMX = {
    "processor": "Intel(R) Xeon(R) Processor @ 2.60GHz",
    "cores": 2,
    "vector_instructions": "AVX512",
    "onednn_isa": "Intel AVX-512 with Intel AMX with bfloat16 and 8-bit integer support",
    "python": "3.11",
    "load_at_start": 0.5,
}
EPYC = {"processor": "AMD EPYC", "cores": 2, "vector_instructions": "AVX2", "python": "3.11", "load_at_start": 1.0}


def row(candidate="ours", texts=1, tokens=64, median=2.0, **more):
    figures = dict.fromkeys(("median", "lower_quartile", "upper_quartile", "min", "max"), median)
    times = dict.fromkeys(("ratio", "cpu_ratio", "seconds", "cpu_seconds"), figures)
    role = "forward" if candidate == "F" else "ours"
    own = {"environment": "main", "role": role, "threads": 1, "memory_run": False}
    return own | {"texts": texts, "tokens": tokens, "candidate": candidate} | times | more


def report(machine, rows):
    settings = {"backbone": "b", "rounds": 5, "slow_rounds": 2, "budget": 30.0, "arguments": "--own"}
    loss = {"labels_kept": 0.995, "correlation": 0.987, "lowest_correlation": 0.9, "texts": 200}
    losses = [{"file": "model.onnx", "precision": "int8", "attribution_method": "damped_lrp", "precision_loss": loss}]
    return {"machine": machine, "settings": settings, "versions": {}, "losses": losses, "rows": rows}


def test_processors_are_told_apart_by_what_their_kernels_use():
    assert processor_slug(AMX) == "intel-xeon-avx512-bf16-amx"
    assert processor_slug(AMX | {"vector_instructions": "AVX2", "onednn_isa": "Intel AVX2"}) == "intel-xeon-avx2"
    assert processor_slug(EPYC) == "amd-epyc-avx2"


def test_this_machine_says_what_its_figures_depend_on(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    machine = describe_machine()
    assert machine["libraries"]
    assert "ONEDNN_MAX_CPU_ISA=AVX2 was set" in machine_sentence(machine)


def test_each_processor_has_its_report_and_the_index_lists_them(tmp_path):
    for machine, cost in ((AMX, 1.5), (EPYC, 2.1)):
        rows = [row("F", median=1.0), row(median=cost), row(median=1.9, tokens=128), row(median=9.0, tokens=4096)]
        write_report(report(machine, rows), tmp_path / "speed", processor_slug(machine))
    write_index(tmp_path)
    index = (tmp_path / "speed.md").read_text()
    assert "| ours | 1.90–2.10 | 1.50–1.90 |" in index
    assert "(speed/intel-xeon-avx512-bf16-amx.md)" in index
    own = (tmp_path / "speed" / "amd-epyc-avx2.md").read_text()
    assert "99.50%" in own
    assert "| ours / F | 2.10 |" in own, "of the size that has both"


def test_a_killed_run_goes_on(tmp_path):
    file, settings = tmp_path / "speed" / "this.partial.jsonl", {"rounds": 5}
    first = Progress(file, settings)
    first.add_versions("main", {"torch": "2.13.0"})
    first.add(row("F"))
    first.add(row("ours"))
    first.add(row("ours", tokens=128, median=30.0))
    with file.open("a") as written:
        written.write('{"row": {"environment": "ma')  # where it was killed
    second = Progress(file, settings)
    assert (len(second), second.versions) == (3, {"main": {"torch": "2.13.0"}})
    assert not second.lacks("main", 1, (1, 64), False, ["F", "ours"])
    assert second.lacks("main", 1, (1, 128), False, ["F", "ours"])
    assert second.lacks("main", 1, (1, 64), True, ["ours"])
    assert second.ratios("main", 1)["ours"] == 30.0, "what is slow is known again"
    second.add(row("ours", tokens=128, median=3.0))  # measured again with the size's other candidates
    third = Progress(file, settings)
    assert [r["ratio"]["median"] for r in third.rows] == [2.0, 2.0, 3.0]
    assert len(Progress(file, {"rounds": 7})) == 0
    third.remove()
    assert not file.exists()


def test_every_run_of_ours_has_a_forward_pass_by_the_same_kernels():
    ours = [name for name, entry in speed.CANDIDATES.items() if entry.role == "ours"]
    unpaired = {"ours, all labels"}  # one graph for all labels: F stands in the other tables
    assert set(ours) - unpaired == set(SAME_KERNELS)
    assert set(SAME_KERNELS.values()) <= {"F", *speed.CANDIDATES}


def test_losses_come_from_an_exported_folder(tmp_path):
    with pytest.raises(speed.UserError, match="no folder of attrib export"):
        speed._read_loss(tmp_path)
    loss = {"labels_kept": 1.0, "correlation": 1.0, "lowest_correlation": 1.0, "texts": 2}
    said = {"file": "model.onnx", "precision": "int8", "attribution_method": "lrp", "precision_loss": loss, "more": 1}
    (tmp_path / "attrib.json").write_text(json.dumps(said))
    assert speed._read_loss(tmp_path)["precision_loss"] == loss


@pytest.mark.parametrize("preset", ["--own", "--quick"])
def test_a_preset_gives_way_to_what_is_asked_for(preset, monkeypatch):
    monkeypatch.setattr("sys.argv", ["speed", preset, "--sizes", "1x64", "--rounds", "9"])
    arguments = speed._parse_arguments()
    assert (arguments.sizes, arguments.rounds, arguments.threads) == (["1x64"], 9, [1])
