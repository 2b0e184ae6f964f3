"""What an explanation costs, in units of F, one plain forward pass of the same classifier on the same texts.

    python -m benchmarks.speed --quick          # ten minutes
    python -m benchmarks.speed --own            # F, faster forward passes and ours, every length: 20 minutes, one core
    python -m benchmarks.speed                  # the other libraries too: hours
    python -m benchmarks.speed --candidates "ours*" --sizes 1x128 8x128 --threads 1

Each environment (this one and those that `make bench-external` builds) measures its candidates in a process of its own,
in turn with F. The report goes to speed/PROCESSOR.md, .json and .png, one for each kind of processor, and speed.md
lists them. A run that was killed goes on, with the same arguments, where it was.
"""

import argparse
import fnmatch
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from attrib_lab.terminal.errors import UserError, nearest, run_command

from .candidates import CANDIDATES, HERE, UNIT
from .machine import describe_machine, processor_slug
from .progress import Progress
from .report import write_index, write_report
from .worker import entered
from .workload import prepare_workload


ROOT = Path(__file__).parent.parent
SIZES = ["1x64", "1x128", "1x256", "1x512", "1x1024", "1x2048", "1x4096", "8x128", "8x512", "32x64", "32x128"]
QUICK = {
    "sizes": ["1x64", "1x512", "8x128"],
    "threads": [1],
    "rounds": 3,
    "budget": 4.0,
    "memory": [],
    "slow_rounds": 1,
}
OWN = {
    "candidates": ["forward*", "ours*"],
    "sizes": ["1x64", "1x128", "1x256", "1x512", "1x1024", "1x2048", "8x128", "8x512", "32x64", "32x128"],
    "threads": [1],
    "rounds": 5,
    "memory": ["1x512", "1x2048", "1x4096"],
}


def parse_size(text: str) -> tuple[int, int]:
    """ "8x128" -> (8 texts, 128 tokens)."""
    texts, _, tokens = text.partition("x")
    if not (texts.isdigit() and tokens.isdigit() and int(texts) and int(tokens) > 2):
        raise UserError(f"size {text!r}: write texts x tokens, such as 8x128, with at least 3 tokens.")
    return int(texts), int(tokens)


def choose(patterns: list[str]) -> list[str]:
    """Names of the candidates that any pattern (`ours*`) matches; F always takes part."""
    chosen = []
    for pattern in patterns:
        matches = fnmatch.filter(CANDIDATES, pattern)
        if not matches:
            hint = nearest(pattern, list(CANDIDATES))
            raise UserError(f"no candidate is called {pattern!r}.{hint} They are: {'; '.join(CANDIDATES)}.")
        chosen += matches
    return [name for name in CANDIDATES if name in chosen]


def run_worker(python: Path, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Events of a worker on this job; if it dies, the candidates that it owes have its last words as the reason."""
    threads = str(job["threads"])
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    owed = {(texts, tokens, name) for texts, tokens in job["sizes"] for name in job["candidates"]}
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
                if "candidate" in event:
                    owed.discard((event["texts"], event["tokens"], event["candidate"]))
                yield event
            status = worker.wait()
        finally:
            worker.kill()
        log.seek(0)
        last = next((line.strip() for line in reversed(log.readlines()) if line.strip()), "no message")
    for texts, tokens, name in sorted(owed):
        reason = f"its environment's process ended with status {status}: {last[:200]}"
        if status < 0:  # all candidates of an environment share a process: whose fault it was is not known
            reason = f"its environment's process was killed by signal {-status} (9: most often, memory ran out)"
        yield {"texts": texts, "tokens": tokens, "candidate": name, "reason": reason}


def measure(arguments: argparse.Namespace, scratch: Path, progress: Progress) -> None:
    """Add to `progress` all rows that it lacks: one for each candidate, size and number of threads."""
    sizes = sorted(map(parse_size, arguments.sizes))
    memory = sorted(parse_size(text) for text in arguments.memory)
    chosen = choose(arguments.candidates)
    longest = max(tokens for _, tokens in sizes + memory)
    prepare_workload(scratch, arguments.backbone, longest)
    environments = list(dict.fromkeys([HERE, *(CANDIDATES[name].environment for name in chosen)]))
    names = {e: [UNIT, *(name for name in chosen if CANDIDATES[name].environment == e)] for e in environments}
    pythons = {e: _python_of(e, arguments.environments) for e in environments}
    total = sum(map(len, names.values())) * (len(sizes) * len(arguments.threads) + len(memory))
    with tqdm(total=total, initial=len(progress), desc="measurements", smoothing=0) as bar:

        def collect(environment: str, job: dict[str, Any]) -> None:
            job |= {"environment": environment, "rounds": arguments.rounds, "slow_rounds": arguments.slow_rounds}
            job |= {"budget": arguments.budget, "folder": str(scratch)}
            for event in _events(environment, pythons[environment], job):
                if "versions" in event:
                    progress.add_versions(environment, event["versions"])
                    continue
                bar.set_postfix_str(f"{event['candidate']}, {event['texts']}x{event['tokens']}", refresh=False)
                bar.update()
                role = entered(environment)[event["candidate"]].role
                row = {"environment": environment, "role": role, "threads": job["threads"], "memory_run": job["memory"]}
                progress.add(row | event)

        for environment in environments:
            for threads in arguments.threads:
                job = {"threads": threads, "memory": False, "candidates": names[environment]}
                left = [s for s in sizes if progress.lacks(environment, threads, s, False, names[environment])]
                if left:
                    collect(environment, job | {"sizes": left, "last_ratio": progress.ratios(environment, threads)})
        for environment in environments:
            for size in memory:
                for name in names[environment]:
                    if not progress.lacks(environment, arguments.threads[0], size, True, [name]):
                        continue
                    job = {"threads": arguments.threads[0], "memory": True, "candidates": [name]}
                    collect(environment, job | {"sizes": [size], "last_ratio": {}})


def _python_of(environment: str, folder: Path) -> Path:
    return (
        Path(sys.executable)
        if environment == HERE
        else folder.absolute() / f".venv-external-{environment}" / "bin" / "python"
    )


def _events(environment: str, python: Path, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if python.exists():
        yield from run_worker(python, job)
        return
    for texts, tokens in job["sizes"]:
        for name in job["candidates"]:
            reason = f"its environment {environment!r} is not built: make bench-external"
            yield {"texts": texts, "tokens": tokens, "candidate": name, "reason": reason}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="a BERT: Hub id or folder")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="SIZE", help="texts x tokens")
    parser.add_argument(
        "--memory", nargs="*", default=["8x128", "1x512"], metavar="TEXTSxTOKENS", help="peak memory at"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="numbers of threads to measure with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slow-rounds", type=int, default=2, help="rounds of candidates over 20 F")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds that one call may take")
    parser.add_argument("--candidates", nargs="+", default=["*"], metavar="PATTERN", help="names, * matches anything")
    parser.add_argument(
        "--environments", type=Path, default=ROOT, help="folder that holds the .venv-external-* folders"
    )
    parser.add_argument(
        "--losses", nargs="+", type=Path, default=[], metavar="FOLDER", help="what `attrib export --precision` left"
    )
    parser.add_argument("--note", default="", help="what else was running, for the report")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder for the report")
    preset = parser.add_mutually_exclusive_group()
    preset.add_argument("--quick", action="store_true", help="few sizes and rounds: ten minutes")
    preset.add_argument("--own", action="store_true", help="without the other libraries: 20 minutes on one core")
    chosen = parser.parse_args()
    if chosen.quick or chosen.own:  # other arguments still say otherwise
        parser.set_defaults(**(QUICK if chosen.quick else OWN))
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.slow_rounds, *arguments.threads) < 1 or arguments.budget <= 0:
        raise UserError("--rounds, --slow-rounds, --threads and --budget are positive numbers.")
    return arguments


def _read_loss(folder: Path) -> dict[str, Any]:
    """What an exported file lost in reduced precision, as its folder says."""
    try:
        said = json.loads((folder / "attrib.json").read_text(encoding="utf-8"))
        return {name: said[name] for name in ("file", "precision", "attribution_method", "precision_loss")}
    except (OSError, ValueError, KeyError):
        raise UserError(f"--losses {folder}: no folder of attrib export --precision int8 or bf16.") from None


def main() -> None:
    arguments = _parse_arguments()
    machine = describe_machine()
    settings = {name: getattr(arguments, name) for name in ("backbone", "rounds", "slow_rounds", "budget")}
    settings |= {"arguments": shlex.join(sys.argv[1:])}
    losses = [_read_loss(folder) for folder in arguments.losses]
    folder = arguments.output / "speed"
    progress = Progress(folder / f"{processor_slug(machine)}.partial.jsonl", settings)
    with tempfile.TemporaryDirectory() as scratch:
        measure(arguments, Path(scratch), progress)
    report = {"machine": machine | {"note": arguments.note}, "settings": settings, "losses": losses}
    report |= {"versions": progress.versions, "rows": progress.rows}
    file = write_report(report, folder, processor_slug(machine))
    progress.remove()
    write_index(arguments.output)
    print(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_command(main)
