"""A tiny model behind a real server on a port of this machine, and a client that says exactly what it is told."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_data import write_backbone
from transformers import AutoTokenizer

from attrib_lab.serving.application import Service, build_application
from attrib_lab.serving.form_page import FormPage
from attrib_lab.serving.limits import Limits
from attrib_lab.serving.micro_batching import MicroBatcher
from attrib_lab.serving.server import Server
from modeling_attrib import AttribForSequenceClassification, AttribTextClassificationPipeline


LABELS = ["sports", "business", "<b>weather</b>"]
LIMITS = Limits(bytes=4000, texts=5, characters=800)
JSON = {"Content-Type": "application/json"}


def tiny_pipeline(folder: Path) -> AttribTextClassificationPipeline:
    """A random model of three labels, far from the usual start, where every score is nearly zero."""
    encoder = write_backbone(folder)
    names = dict(enumerate(LABELS))
    model = AttribForSequenceClassification.from_backbone(
        str(encoder), id2label=names, label2id={name: index for index, name in names.items()}
    )
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    return AttribTextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu")


@dataclass
class Served:
    """A server that runs in this process."""

    port: int
    batcher: MicroBatcher
    server: Server

    def ask(self, path: str, body: bytes | None = None, method: str = "POST", **headers: str) -> tuple[int, str, bytes]:
        """Status, type and body of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers["Content-Type"], response.read()

    def explain(self, inputs: Any, **parameters: Any) -> tuple[int, Any]:
        """Status and answer of a request as it should be."""
        body = {"inputs": inputs} | ({"parameters": parameters} if parameters else {})
        return self.explain_bytes(json.dumps(body).encode())

    def explain_bytes(self, body: bytes, **headers: str) -> tuple[int, Any]:
        status, kind, content = self.ask("/explain", body, **(headers or JSON))
        assert kind == "application/json"
        return status, json.loads(content)


@contextlib.contextmanager
def serving(
    pipe: Any, limits: Limits = LIMITS, batch_tokens: int = 256, built_page: Path | None = None
) -> Iterator[Served]:
    """A server of a pipeline, on a free port."""
    batcher, stopping = MicroBatcher(pipe, batch_tokens), asyncio.Event()
    page = FormPage("tiny", LABELS, ["lrp", "gradient_x_input"])
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        server = Server(build_application(Service(batcher, limits, stopping), page, built_page), stopping, "ready")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Served(listening.getsockname()[1], batcher, server)
        finally:
            server.should_exit = True
            thread.join(60)
            batcher.stop(60)
            assert not thread.is_alive()
            assert not batcher.alive


def same(found, expected) -> None:
    """Equal, but for numbers that differ by less than a millionth."""
    if isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)
    elif isinstance(expected, (list, dict)):
        assert len(found) == len(expected)
        for key in expected if isinstance(expected, dict) else range(len(expected)):
            same(found[key], expected[key])
    else:
        assert found == expected
