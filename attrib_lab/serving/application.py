"""The web application: what is asked over HTTP goes to the model's thread, and its answers come back unchanged."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from modeling_attrib.configuration_attrib import ATTRIB_VERSION

from ..terminal.errors import first_line
from .form_page import POLICY, FormPage, question_of, read_form, text_of
from .limits import Limits
from .micro_batching import MicroBatcher, OverloadedError, Text
from .questions import Answer, ExplainRequest, RefusedError, check_size, sentence_of
from .request_body import BoundedBody, JSONAnswer, refusal


_ERROR = {"type": "object", "properties": {"error": {"type": "string", "description": "one sentence"}}}
_REFUSALS = {
    408: "The request did not arrive completely.",
    413: "The request has too many bytes.",
    422: "It cannot be answered: broken JSON, an unknown label, method or entry, too many texts or characters.",
    500: "The model failed on a text.",
    503: "Too many texts wait, or the server is stopping: ask again later.",
}
_ANSWER = "What the pipeline answers: a result for a text, with its label, score and attributions; a list for a list."
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": _ANSWER, "model": Answer},
    **{
        status: {"description": said, "content": {"application/json": {"schema": _ERROR}}}
        for status, said in _REFUSALS.items()
    },
}


class Service:
    """A model's thread, and how long its askers wait for it.

    Args:
        batcher: the model's thread.
        limits: of a request.
        stopping: set when nobody is to wait any longer, because the server ends.
    """

    def __init__(self, batcher: MicroBatcher, limits: Limits, stopping: asyncio.Event) -> None:
        self.batcher, self.limits, self.stopping = batcher, limits, stopping

    async def explain(self, texts: Sequence[Text], question: Mapping[str, Any], request: Request) -> list[Any]:
        """The pipeline's answer for each text.

        Raises:
            RefusedError: with the status and the sentence for whoever asked.
        """
        check_size(texts, self.limits)
        try:
            answers = self.batcher.submit(texts, question)
        except OverloadedError as error:
            raise RefusedError(503, f"the server is busy, {error} Ask again later.") from None
        try:
            return await self._wait(answers, request)
        except (RefusedError, asyncio.CancelledError):
            raise
        except ValueError as error:
            raise RefusedError(422, first_line(error)) from None
        except Exception as error:  # the model's code and torch's may raise anything: the server must live
            print(f"the model failed: {type(error).__name__}: {first_line(error)}", file=sys.stderr, flush=True)
            raise RefusedError(500, f"the model failed on this text ({type(error).__name__}).") from None
        finally:
            for answer in answers:
                answer.cancel()  # nobody waits for it any more; one that is there stays

    async def _wait(self, answers: list[Future], request: Request) -> list[Any]:
        waiting = [asyncio.gather(*map(asyncio.wrap_future, answers))]
        waiting += [asyncio.ensure_future(_gone(request)), asyncio.ensure_future(self.stopping.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if waiting[0].done():
                return waiting[0].result()
            if waiting[1].done():
                raise RefusedError(499, "whoever asked has gone.")
            raise RefusedError(503, "the server is stopping: ask again later.")
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)  # what they end with is nobody's business any more


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def build_application(service: Service, page: FormPage, built_page: Path | None = None) -> FastAPI:
    """The application: `/explain`, `/health`, `/docs`, and a page at `/`.

    Args:
        service: answers.
        page: the form, at `/` where there is no built page.
        built_page: a folder with an `index.html` that takes its place.
    """
    app = FastAPI(
        title=f"attrib: {page.title}",
        version=ATTRIB_VERSION,
        description="Label, probability, and a signed score for every word behind the decision.",
        redoc_url=None,
    )
    app.add_middleware(BoundedBody, most_bytes=service.limits.bytes)
    _add_refusals(app)
    _add_answers(app, service, page)
    if built_page is None:
        _add_form(app, service, page)
    else:
        app.mount("/", StaticFiles(directory=built_page, html=True))
    return app


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> Response:
        return refusal(error.status, str(error))

    @app.exception_handler(RequestValidationError)
    async def unreadable(_: Request, error: RequestValidationError) -> Response:
        return refusal(422, sentence_of(error.errors()))

    @app.exception_handler(HTTPException)
    async def impossible(_: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # what json.loads says of a body goes to nobody
            return refusal(
                422, "the body is no JSON that can be read: not UTF-8, nested too deep, or a number too long."
            )
        answer = refusal(error.status_code, f"{error.detail}.")
        answer.headers.update(error.headers or {})
        return answer


def _add_answers(app: FastAPI, service: Service, page: FormPage) -> None:
    limits = service.limits
    most = f"{limits.texts:,} texts of {limits.characters:,} characters, {limits.bytes:,} bytes in all"

    @app.post("/explain", summary="Classify and explain", description=f"At most {most}.", responses=_RESPONSES)
    async def explain(asked: ExplainRequest, request: Request) -> Response:
        inputs, question = asked.inputs, asked.question
        several = isinstance(inputs, list)
        answers = await service.explain(inputs if several else [inputs], question, request)
        # As the pipeline: a text's one result comes in a list, unless how many were asked for was said.
        bare = several or (isinstance(inputs, str) and "top_k" not in question)
        try:
            return JSONAnswer(answers if bare else answers[0])
        except ValueError:
            raise RefusedError(500, "the model answered with what is no number.") from None

    @app.get("/health", summary="Whether the model answers")
    async def health() -> Response:
        if service.stopping.is_set() or not service.batcher.alive:
            return refusal(503, "the model does not answer any more.")
        known = {"model": page.title, "labels": list(page.labels), "version": ATTRIB_VERSION}
        return JSONAnswer({"status": "ok", **known, "waiting": service.batcher.waiting})


def _add_form(app: FastAPI, service: Service, page: FormPage) -> None:
    def answer(content: bytes, status: int = 200) -> Response:
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        return Response(content, status, headers, "text/html; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def empty() -> Response:
        return answer(page.render())

    @app.post("/", include_in_schema=False)
    async def filled(request: Request) -> Response:
        asked: dict[str, str] = {}
        try:
            asked = read_form(await request.body())
            (result,) = await service.explain([text_of(asked)], question_of(asked), request)
        except RefusedError as error:
            return answer(page.render(asked, refused=str(error)), error.status)
        return answer(page.render(asked, result))
