"""Reads a request's body before anybody else sees it: up to a size and within a time, whatever the sender does."""

import asyncio
import json

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


BODY_SECONDS = 20.0  # to send a body in; one that was cut in the middle holds a connection no longer


class JSONAnswer(Response):
    """JSON that equals what Python has, in ASCII alone: so half a surrogate pair comes back as it was sent.

    Raises:
        ValueError: for a number that JSON does not have (NaN, infinity).
    """

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Called by the constructor."""
        return json.dumps(content, allow_nan=False).encode("ascii")


def refusal(status: int, sentence: str) -> JSONAnswer:
    """The answer to whom cannot be answered."""
    return JSONAnswer({"error": sentence}, status)


class BoundedBody:
    """Middleware: hands an application bodies that are complete and small, and refuses others itself.

    What is too large is read to its end, and not kept: who is still sending could not read the refusal.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app, self._most = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called for each connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body, size = await asyncio.wait_for(self._read(receive), BODY_SECONDS)
        except asyncio.TimeoutError:
            answer = refusal(408, f"the request was not complete after {BODY_SECONDS:.0f} seconds.")
            await answer(scope, receive, send)
            return
        except ConnectionResetError:
            return
        if size > self._most:
            answer = refusal(413, f"the request has {size:,} bytes: {self._most:,} are allowed.")
            await answer(scope, receive, send)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> tuple[bytes, int]:
        """The body, or nothing of one that is too large; and its size."""
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ConnectionResetError  # gone in the middle
            part = message.get("body", b"")
            size += len(part)
            parts.append(part)
            if size > self._most:
                parts.clear()
            if not message.get("more_body", False):
                return b"".join(parts), size
