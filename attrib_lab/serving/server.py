"""The server of one model: loaded, tried out, and then asked over HTTP until somebody ends it."""

import asyncio
import contextlib
import gc
import json
import os
import socket
from pathlib import Path

import uvicorn

from modeling_attrib import AttribForSequenceClassification, AttribTextClassificationPipeline, list_attribution_methods
from modeling_attrib.onnx_attrib import weights_digest

from ..models.any_classifier import open_classifier
from ..terminal.errors import UserError, first_line
from .application import Service, build_application
from .form_page import FormPage
from .limits import DEFAULT_BATCH_TOKENS, Limits
from .micro_batching import MicroBatcher


FOUND_PAGE = Path("examples/browser/dist")  # what `make browser` builds
_GRACE = 0.5  # seconds that askers still wait once the server is to end
_DESCRIPTION = "attrib.json"  # beside an exported graph, such as a built page's


def serve_model(
    classifier: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    page: Path | None = None,
    device: str = "cpu",
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    limits: Limits | None = None,
) -> None:
    """Answer requests until SIGINT or SIGTERM comes; if the model still computes then, the process ends here.

    Args:
        classifier: folder or Hub id of one of ours, or of one of transformers' own, which is converted.
        host, port: where to listen; port 0 takes a free one.
        page: a built page for `/`; by default the one in `examples/browser/dist`, if it holds this very model.
        device: where the model computes, as torch names it.
        batch_tokens: how much is explained at once.
        limits: of one request; see there for the usual ones.

    Raises:
        UserError: for a model that cannot be loaded or explained, an address that cannot be listened at, or a page
            that is none, or another model's.
    """
    pipe = _open_pipeline(classifier, device)
    built = find_page(page, pipe.model)
    with _listen(host, port) as listening:
        batcher, stopping = MicroBatcher(pipe, batch_tokens), asyncio.Event()
        names = pipe.model.config.id2label
        form = FormPage(
            Path(classifier).resolve().name,
            [str(names[index]) for index in sorted(names)],
            [method["name"] for method in list_attribution_methods()],
        )
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        what = "a form" if built is None else f"the page of {built}"
        said = f"serving {classifier} at {address} ({what}); POST {address}/explain, {address}/docs. Ctrl-C ends it."
        application = build_application(Service(batcher, limits or Limits(), stopping), form, built)
        server = Server(application, stopping, said)
        gc.collect()
        gc.freeze()  # what is loaded stays: nobody searches it for garbage, while answering or for seconds at the end
        with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn, once all is answered
            server.run(sockets=[listening])
        batcher.stop(0.1)
    print("stopped.", flush=True)
    if batcher.alive:  # with a long text that nobody waits for: torch aborts if Python ends under it
        os._exit(0)


def _open_pipeline(classifier: str, device: str) -> AttribTextClassificationPipeline:
    loaded = open_classifier(classifier)
    try:
        pipe = AttribTextClassificationPipeline(model=loaded.model, tokenizer=loaded.tokenizer, device=device)
        pipe("Does it answer?")  # what the first asker would otherwise wait for, or be refused
    except (ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"{classifier}: the model cannot explain its decisions: {first_line(error)}") from None
    return pipe


class Server(uvicorn.Server):
    """A server that answers what is under way before it ends, but keeps nobody waiting.

    Args:
        app: the application.
        stopping: set half a second after the end has begun; who still waits then is refused.
        said: printed once requests are answered, and Ctrl-C ends the server.
    """

    def __init__(self, app: object, stopping: asyncio.Event, said: str) -> None:
        super().__init__(
            # A request that is still being sent when all others are answered is cut off.
            uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE + 0.1)
        )
        self._stopping, self._said = stopping, said

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called once signals are listened to."""
        await super().startup(sockets)
        print(self._said, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called once a signal came."""
        asyncio.get_running_loop().call_later(_GRACE, self._stopping.set)
        await super().shutdown(sockets)


def find_page(page: Path | None, model: AttribForSequenceClassification) -> Path | None:
    """The built page to show, or None for the form. A page runs a copy of a model of its own: it must be this one.

    Raises:
        UserError: for a folder that was asked for and is no page of this model.
    """
    folder = FOUND_PAGE if page is None else page
    if not (folder / "index.html").is_file():
        if page is None:
            return None
        raise UserError(f"--page {page} holds no built page: there is no index.html. `make browser` builds one.")
    copies = {file: _weights_named(file) for file in sorted((folder / "model").rglob(_DESCRIPTION))}
    if copies and set(copies.values()) == {weights_digest(model)}:
        return folder
    if page is not None:
        raise UserError(f"--page {page} runs another model than the one served: make browser MODEL=... brings it.")
    print(f"{folder} runs another model: it is not shown.")
    return None


def _weights_named(description: Path) -> str | None:
    try:
        return json.loads(description.read_text(encoding="utf-8")).get("weights")
    except (OSError, ValueError, AttributeError):
        return None


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"cannot listen at {host} port {port}: {reason}.") from None
