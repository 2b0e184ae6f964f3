"""What an explanation costs, in units of F, one plain forward pass of the same classifier on the same texts.

    python -m benchmarks.speed                  # everything: hours
    python -m benchmarks.speed --quick          # ten minutes
    python -m benchmarks.speed --contestants "ours*" --sizes 1x128 8x128 --threads 1

Each environment (this one and those that `make bench-peers` builds) measures its contestants in a process of its own,
in turn with F. The report goes to speed.md, speed.json and speed.png.
"""

import argparse
import fnmatch
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from attrib_lab.errors import UserError, nearest, run_command

from .contestants import CONTESTANTS, HERE, UNIT
from .report import write_report
from .subjects import prepare_subject
from .worker import entered


ROOT = Path(__file__).parent.parent
PRETRAINED = 512  # the longest text that the backbone's own position table reaches
SIZES = ["1x64", "1x128", "1x256", "1x512", "1x1024", "1x2048", "1x4096", "8x128", "8x512", "32x64", "32x128"]
QUICK = {"sizes": ["1x64", "1x128", "1x512", "8x128"], "threads": [1], "rounds": 3, "budget": 4.0, "memory": []}


def parse_size(text: str) -> tuple[int, int]:
    """ "8x128" -> (8 texts, 128 tokens)."""
    texts, _, tokens = text.partition("x")
    if not (texts.isdigit() and tokens.isdigit() and int(texts) and int(tokens) > 2):
        raise UserError(f"size {text!r}: write texts x tokens, such as 8x128, with at least 3 tokens.")
    return int(texts), int(tokens)


def choose(patterns: list[str]) -> list[str]:
    """Names of the contestants that any pattern (`ours*`) matches; F always takes part."""
    chosen = []
    for pattern in patterns:
        matches = fnmatch.filter(CONTESTANTS, pattern)
        if not matches:
            hint = nearest(pattern, list(CONTESTANTS))
            raise UserError(f"no contestant is called {pattern!r}.{hint} They are: {'; '.join(CONTESTANTS)}.")
        chosen += matches
    return [name for name in CONTESTANTS if name in chosen]


def run_worker(python: Path, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Events of a worker on this job; if it dies, the contestants that it owes have its last words as the reason."""
    threads = str(job["threads"])
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    owed = {(texts, tokens, name) for texts, tokens, _ in job["sizes"] for name in job["contestants"]}
    if job["memory"]:
        owed = {entry for entry in owed if entry[2] == job["contestants"][-1]}
    with tempfile.TemporaryFile("w+") as asked, tempfile.TemporaryFile("w+", errors="replace") as log:
        json.dump(job, asked)
        asked.seek(0)
        command = [str(python), "-m", f"{__package__}.worker"]
        worker = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=asked, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            for line in worker.stdout:
                event = json.loads(line)
                if "contestant" in event:
                    owed.discard((event["texts"], event["tokens"], event["contestant"]))
                yield event
            status = worker.wait()
        finally:
            worker.kill()
        log.seek(0)
        last = next((line.strip() for line in reversed(log.readlines()) if line.strip()), "no message")
    for texts, tokens, name in sorted(owed):
        reason = f"its environment's process ended with status {status}: {last[:200]}"
        if status < 0:  # all contestants of an environment share a process: whose fault it was is not known
            reason = f"its environment's process was killed by signal {-status} (9: most often, memory ran out)"
        yield {"texts": texts, "tokens": tokens, "contestant": name, "reason": reason}


def measure(arguments: argparse.Namespace, scratch: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All rows (one for each contestant, size and number of threads), and versions by environment."""
    sizes = sorted(map(parse_size, arguments.sizes), key=lambda size: (size[1] > PRETRAINED, size))
    memory = sorted(parse_size(text) for text in arguments.memory)
    chosen = choose(arguments.contestants)
    folders = _prepare_subjects(arguments.backbone, sizes + memory, scratch)
    environments = list(dict.fromkeys([HERE, *(CONTESTANTS[name].environment for name in chosen)]))
    names = {e: [UNIT, *(name for name in chosen if CONTESTANTS[name].environment == e)] for e in environments}
    pythons = {e: _python_of(e, arguments.environments) for e in environments}
    rows: list[dict[str, Any]] = []
    versions: dict[str, Any] = {}
    total = sum(map(len, names.values())) * (len(sizes) * len(arguments.threads) + len(memory))
    with tqdm(total=total, desc="measurements", smoothing=0) as bar:

        def collect(environment: str, job: dict[str, Any]) -> None:
            job |= {"environment": environment, "rounds": arguments.rounds, "slow_rounds": arguments.slow_rounds}
            job |= {"budget": arguments.budget}
            for event in _events(environment, pythons[environment], job):
                if "versions" in event:
                    versions.setdefault(environment, {}).update(event["versions"])
                    continue
                bar.set_postfix_str(f"{event['contestant']}, {event['texts']}x{event['tokens']}", refresh=False)
                bar.update()
                role = entered(environment)[event["contestant"]].role
                rows.append({"environment": environment, "role": role, "threads": job["threads"]} | event)

        for environment in environments:
            for threads in arguments.threads:
                job = {"threads": threads, "memory": False, "contestants": names[environment]}
                collect(environment, job | {"sizes": [(*size, str(folders[size])) for size in sizes]})
        key = ("environment", "texts", "tokens", "contestant")
        unmeasured = {tuple(row[name] for name in key) for row in rows if "reason" in row}
        for environment in environments:
            for texts, tokens in memory:
                for name in names[environment]:
                    if (environment, texts, tokens, name) in unmeasured:
                        bar.update()
                        continue
                    job = {"threads": arguments.threads[0], "memory": True, "contestants": [name]}
                    collect(environment, job | {"sizes": [(texts, tokens, str(folders[texts, tokens]))]})
    return rows, versions


def _prepare_subjects(backbone: str, sizes: list[tuple[int, int]], scratch: Path) -> dict[tuple[int, int], Path]:
    """Size -> folder of the classifier that it is measured on: pretrained, or random where texts are too long."""
    longest = max(tokens for _, tokens in sizes)
    folders = {False: scratch / "pretrained", True: scratch / "random"}
    for long, tokens in ((False, PRETRAINED), (True, longest)):
        if any((size[1] > PRETRAINED) == long for size in sizes):
            prepare_subject(folders[long], backbone, tokens)
    return {size: folders[size[1] > PRETRAINED] for size in sizes}


def _python_of(environment: str, folder: Path) -> Path:
    return (
        Path(sys.executable)
        if environment == HERE
        else folder.absolute() / f".venv-peers-{environment}" / "bin" / "python"
    )


def _events(environment: str, python: Path, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if python.exists():
        yield from run_worker(python, job)
        return
    for texts, tokens, _ in job["sizes"]:
        for name in job["contestants"]:
            reason = f"its environment {environment!r} is not built: make bench-peers"
            yield {"texts": texts, "tokens": tokens, "contestant": name, "reason": reason}


def _machine() -> dict[str, Any]:
    """What the figures depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="a BERT: Hub id or folder")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="SIZE", help="texts x tokens")
    parser.add_argument(
        "--memory", nargs="*", default=["8x128", "1x512"], metavar="TEXTSxTOKENS", help="peak memory at"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="numbers of threads to measure with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slow-rounds", type=int, default=2, help="rounds of contestants over 20 F")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds that one call may take")
    parser.add_argument("--contestants", nargs="+", default=["*"], metavar="PATTERN", help="names, * matches anything")
    parser.add_argument("--environments", type=Path, default=ROOT, help="folder that holds the .venv-peers-* folders")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder for the report")
    parser.add_argument("--quick", action="store_true", help="few sizes and rounds: ten minutes")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(QUICK | {"slow_rounds": 1})
    if min(arguments.rounds, arguments.slow_rounds, *arguments.threads) < 1 or arguments.budget <= 0:
        raise UserError("--rounds, --slow-rounds, --threads and --budget are positive numbers.")
    return arguments


def main() -> None:
    arguments = _parse_arguments()
    report = {
        "machine": _machine(),
        "settings": {name: getattr(arguments, name) for name in ("backbone", "rounds", "slow_rounds", "budget")}
        | {"arguments": shlex.join(sys.argv[1:])},
    }
    with tempfile.TemporaryDirectory() as scratch:
        rows, versions = measure(arguments, Path(scratch))
    report |= {"versions": versions, "pretrained_up_to": PRETRAINED, "rows": rows}
    write_report(report, arguments.output)
    print((arguments.output / "speed.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_command(main)
