"""What `attrib serve` stands: many clients at once, each with texts of its own, every answer checked.

    python -m benchmarks.serve --model outputs/demo --seconds 300

The answers must be those of the pipeline, and nobody another's. Throughput is a ratio to one client that asks one text
after the other, measured before and after in the same run. Clients and server share the machine.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from attrib_lab.data.synthetic_news import generate
from attrib_lab.models.any_classifier import open_classifier
from attrib_lab.terminal.errors import UserError, run_command
from modeling_attrib import AttribTextClassificationPipeline

from .machine import describe_machine, machine_sentence


REPORT = Path(__file__).parent / "serve.md"
_TOLERANCE = 1e-5  # beyond rounding: another text's answer is wrong by far more
_SAMPLES = 10  # of the server's memory


@dataclass
class Load:
    """What clients saw.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: seconds of each answer.
        faults: what was wrong, a line each.
        differences: largest to the pipeline's, of probabilities, scores, and the rest (special_score, residual).
        memory: bytes of the server, at equal steps of the time.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds


def client_texts(clients: int, each: int, seed: int = 0) -> list[list[str]]:
    """Texts of each client; each text names its client and stands nowhere else."""
    stories = iter(generate(clients * each, seed))
    return [
        [f"Reader {client}, letter {number}: {next(stories).text}" for number in range(each)]
        for client in range(clients)
    ]


def differences(answer: Any, expected: Any) -> dict[str, float]:
    """Largest differences of an answer to the pipeline's, by kind.

    Raises:
        ValueError: if it is the answer to another text: another label, other words, or figures far off.
    """
    (given,), (wanted,) = answer, expected
    places = [[(a["word"], a["start"], a["end"]) for a in one["attributions"]] for one in (given, wanted)]
    if given["label"] != wanted["label"] or places[0] != places[1]:
        raise ValueError(f"the answer to another text: {str(given)[:200]}")
    pairs = zip(given["attributions"], wanted["attributions"])
    found = {
        "probability": abs(given["score"] - wanted["score"]),
        "words' scores": max((abs(one["score"] - other["score"]) for one, other in pairs), default=0.0),
        "special_score, residual": max(abs(given[key] - wanted[key]) for key in ("special_score", "residual")),
    }
    if not max(found.values()) <= _TOLERANCE:
        raise ValueError(f"figures far off: {found}")
    return found


def put_load(
    port: int, texts: Sequence[Sequence[str]], expected: Sequence[Sequence[Any]], seconds: float, server: int | None
) -> Load:
    """Have a client for each list of texts ask them one after the other, over and over.

    Args:
        port: of a server on this machine.
        expected: the pipeline's answer to each text.
        seconds: after which no client asks again.
        server: the server's process, if its memory is to be watched.
    """
    load, lock = Load(), threading.Lock()
    began = time.perf_counter()

    def client(own: Sequence[str], wanted: Sequence[Any]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        asked = 0
        while time.perf_counter() - began < seconds:
            number = asked % len(own)
            asked += 1
            sent = time.perf_counter()
            try:
                answer = _ask(connection, own[number])
                latency = time.perf_counter() - sent
                found, fault = differences(answer, wanted[number]), None
            except (ValueError, OSError, http.client.HTTPException) as error:
                connection.close()
                found, fault = {}, f"{own[number][:40]}: {error}"
            with lock:
                if fault is None:
                    load.latencies.append(latency)
                else:
                    load.faults.append(fault)
                load.differences |= {key: max(value, load.differences.get(key, 0.0)) for key, value in found.items()}
        connection.close()

    threads = [threading.Thread(target=client, args=pair) for pair in zip(texts, expected)]
    for thread in threads:
        thread.start()
    for step in range(_SAMPLES + 1 if server else 0):
        time.sleep(max(0.0, began + seconds * step / _SAMPLES - time.perf_counter()))
        load.memory.append(resident_bytes(server))
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - began
    return load


def _ask(connection: http.client.HTTPConnection, text: str) -> Any:
    body = json.dumps({"inputs": text})
    connection.request("POST", "/explain", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise ValueError(f"{response.status} {content[:200]!r}")
    return json.loads(content)


def resident_bytes(process: int) -> int:
    """Memory of a process that is in use, as Linux counts it."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise UserError(f"process {process} has ended.")


def start_server(model: Path) -> tuple[subprocess.Popen, int]:
    """`attrib serve` in a process of its own, and the port where it listens."""
    command = [sys.executable, "-m", "attrib_lab", "serve", str(model), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = server.stdout.readline()
    if not said.startswith("serving"):
        raise UserError(f"the server did not start: {said.strip()}")
    return server, int(said.split("http://127.0.0.1:")[1].split()[0])


def measure(model: Path, clients: int, seconds: float, each: int) -> dict[str, Any]:
    """One client alone, all of them, and one alone again."""
    texts = client_texts(clients, each)
    loaded = open_classifier(str(model))
    classify = AttribTextClassificationPipeline(model=loaded.model, tokenizer=loaded.tokenizer, device="cpu")
    print(f"asking the pipeline about {clients * each} texts, one by one.")
    expected = [[classify(text) for text in own] for own in texts]
    server, port = start_server(model)
    alone_seconds = max(1.0, seconds / 10)
    try:
        put_load(port, texts, expected, min(10.0, seconds / 10), None)  # until allocators have what they keep
        before = put_load(port, texts[:1], expected[:1], alone_seconds, None)
        print(f"one client: {before.throughput:.1f} texts a second; now {clients} for {seconds:.0f} seconds.")
        many = put_load(port, texts, expected, seconds, server.pid)
        after = put_load(port, texts[:1], expected[:1], alone_seconds, None)
    finally:
        server.terminate()
        server.wait()
    return {"alone": [before, after], "many": many, "clients": clients, "each": each, "model": model.name}


def write_report(measured: dict[str, Any], report: Path, machine: str) -> None:
    """The measurement as Markdown."""
    many, alone = measured["many"], measured["alone"]
    single = sum(len(load.latencies) for load in alone) / sum(load.seconds for load in alone)
    faults = [fault for load in (many, *alone) for fault in load.faults]
    late = quantiles(many.latencies, n=100)
    rows = [
        ("answers, each checked against the pipeline's", f"{len(many.latencies):,}"),
        ("wrong, missing, or to another's text", f"{len(faults)}"),
        *((f"largest difference to the pipeline: {key}", f"{value:.1e}") for key, value in many.differences.items()),
        (f"{measured['clients']} clients, texts a second", f"{many.throughput:.1f}"),
        ("one client that asks one by one, texts a second", f"{single:.1f}"),
        ("**throughput as a ratio to one by one**", f"**{many.throughput / single:.2f}**"),
        ("seconds until an answer: median, 99 %", f"{median(many.latencies):.2f}, {late[98]:.2f}"),
        ("memory of the server from start to end, MB", ", ".join(f"{memory / 1e6:.0f}" for memory in many.memory)),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    report.write_text(
        f"# `attrib serve` under load\n\n{measured['clients']} clients ask at once, for {many.seconds:.0f} seconds, "
        f"each {measured['each']} texts of its own over and over (the model: {measured['model']}). Before and after, "
        "one client asks one text after the other. Clients and server share the machine; the server computes on "
        f"{torch.get_num_threads()} of its cores.\n\n"
        f"| what | figure |\n|---|---|\n{table}\n\n{machine}\n",
        encoding="utf-8",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("outputs/demo"))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--each", type=int, default=4, help="texts of each client")
    parser.add_argument("--output", type=Path, default=REPORT)
    arguments = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    machine = machine_sentence(describe_machine())
    measured = measure(arguments.model, arguments.clients, arguments.seconds, arguments.each)
    write_report(measured, arguments.output, machine)
    faults = [fault for load in (measured["many"], *measured["alone"]) for fault in load.faults]
    print(f"wrote {arguments.output}.")
    if faults:
        raise UserError(f"{len(faults)} answers were wrong; the first: {faults[0]}")


if __name__ == "__main__":
    run_command(main)
