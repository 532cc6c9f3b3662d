"""A proxy on this machine that splits the requests of one service over its models.

python -m intermodal.serving.splitting.proxy --routes FILE [--http_port 8080] [--host 0.0.0.0]

It reads FILE again whenever that changes, so whoever changes the file changes the split; a request under way ends where it began. Beside the models'
own paths it answers `/-/split` (which revision of FILE holds) and `/-/slices?since=SECONDS` (what it counted).
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import aiohttp
import orjson
import uvicorn
from yarl import URL

from intermodal.serving.connections import BODY_SECONDS, HEADER_SECONDS, MOST_CONNECTIONS, limited
from intermodal.serving.listening import Sockets, add_options, serve_until_stopped
from intermodal.serving.log_file import log_to
from intermodal.serving.splitting.counts import Counts, SplitCounts, numbers_of

LARGEST_BODY: Final = 64 * 2**20
#: The header of an answer that names the model that gave it.
SERVED_BY: Final = "x-served-by"
_ANSWER_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.02
#: Copies under way at a time; above that, requests are not copied, so that a slow candidate does not fill the memory.
_MOST_COPIES: Final = 64
#: Headers of one connection, not of the request.
_HOPS: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
    }
)
logger = logging.getLogger("intermodal.splitter")


@dataclass(frozen=True)
class Routes:
    """Where requests go.

    Attributes:
        revision: Names this content.
        stable: The model that answers where another does not.
        ports: Of 127.0.0.1, by model.
        weights: Per cent of the requests by model.
        mirror: Per cent of the requests that are copied, by model.
        header: Name and value of a header, and the model that its requests go to; empty: none.
    """

    revision: str = ""
    stable: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    mirror: dict[str, int] = field(default_factory=dict)
    header: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Routes":
        """Read the routes that stand under `routes` in a JSON file."""
        content = json.loads(path.read_text(encoding="utf-8"))["routes"]
        return cls(**{**content, "header": tuple(content["header"])})

    def choose(self, headers: list[tuple[bytes, bytes]], chance: random.Random) -> str:
        """Return the model that answers a request."""
        if self.header:
            name, value, member = self.header
            if any(key == name.lower().encode() and given.decode("latin-1") == value for key, given in headers):
                return member
        return chance.choices(list(self.weights), list(self.weights.values()))[0]


@dataclass(frozen=True)
class Answer:
    """What a model answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    member: str


class Splitter:
    """The ASGI application."""

    def __init__(self, path: Path, draining: threading.Event, slice_seconds: float, largest_body: int = LARGEST_BODY) -> None:
        """Read the routes.

        Args:
            path: The file of the routes.
            draining: Whether clients are to leave.
            slice_seconds: How long a slice of the counts lasts.
            largest_body: Bytes that a request may have.
        """
        self._path, self._draining, self._largest = path, draining, largest_body
        self._routes = Routes.read(path)
        self._counts = SplitCounts(slice_seconds)
        self._chance = random.Random()  # noqa: S311
        self._session: aiohttp.ClientSession | None = None
        self._copies: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Read the routes whenever the file changes; what cannot be read leaves them as they are."""
        seen = None
        while True:
            with contextlib.suppress(OSError):
                status = self._path.stat()
                if (found := (status.st_ino, status.st_mtime_ns)) != seen:
                    seen = found
                    try:
                        self._routes = Routes.read(self._path)
                    except (ValueError, KeyError, TypeError) as error:
                        logger.error("%s: not read, requests go as before: %r", self._path, error)
            await asyncio.sleep(_POLL_SECONDS)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["path"].startswith("/-/"):
            await self._send(send, self._own(scope))
            return
        told = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        body = await self._body(receive) if int(told) <= self._largest else None
        if body is None:
            await self._send(send, _refusal(413, f"the body is larger than {self._largest} bytes; send fewer rows a request"))
            return
        routes = self._routes
        if not routes.weights:
            await self._send(send, _refusal(503, "no model serves"))
            return
        member = routes.choose(scope["headers"], self._chance)
        answer = await self._answered(routes, member, scope, body)
        await self._send(send, answer)
        for other, percent in routes.mirror.items():
            if other != member and self._chance.random() * 100 < percent and len(self._copies) < _MOST_COPIES:
                copy = asyncio.create_task(self._copied(routes, other, scope, body, answer))
                self._copies.add(copy)
                copy.add_done_callback(self._copies.discard)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        watching = None
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=_CONNECT_SECONDS)
                self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
                watching = asyncio.create_task(self.watch())
                await send({"type": "lifespan.startup.complete"})
            else:
                if watching:
                    watching.cancel()
                if self._session:
                    await self._session.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _body(self, receive: Any) -> bytes | None:
        """Return a request's body; None: it is too large."""
        pieces, size, more = [], 0, True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > self._largest:
                return None
            more = message.get("more_body", False)
        return b"".join(pieces)

    async def _answered(self, routes: Routes, member: str, scope: MutableMapping[str, Any], body: bytes) -> Answer:
        """Return a model's answer; the stable one's where it gives none, for a prediction changes nothing and may be asked for twice."""
        for each in dict.fromkeys((member, routes.stable)):
            answer = await self._ask(routes, each, scope, body)
            if answer:
                return answer
        return _refusal(502, f"the model {routes.stable} does not answer")

    async def _ask(self, routes: Routes, member: str, scope: MutableMapping[str, Any], body: bytes) -> Answer | None:
        """Return a model's answer and count it; None: it gave none."""
        assert self._session
        port = routes.ports.get(member)
        query = scope["query_string"].decode("latin-1")
        url = f"http://127.0.0.1:{port}{scope['raw_path'].decode('latin-1')}{'?' + query if query else ''}"
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"] if name not in _HOPS]
        begun = time.perf_counter()
        for last in (False, True):
            try:
                async with self._session.request(
                    scope["method"], URL(url, encoded=True), data=body or None, headers=headers, allow_redirects=False
                ) as answer:
                    content = await answer.read()
            except aiohttp.ServerDisconnectedError:
                if not last:
                    continue  # a kept connection that the model closed just then
                break
            except (aiohttp.ClientError, TimeoutError) as error:
                logger.info("%s does not answer: %r", member, error)
                break
            seconds = time.perf_counter() - begun
            predictions = numbers_of(_json(content)) if answer.status < 400 and scope["method"] == "POST" else []
            self._counts.of(member).add(seconds=seconds, error=answer.status >= 500, predictions=predictions)
            kept = [(name.lower(), value) for name, value in answer.raw_headers if name.lower() not in _HOPS]
            return Answer(answer.status, kept, content, member)
        self._counts.of(member).add(seconds=None, error=True)
        return None

    async def _copied(self, routes: Routes, member: str, scope: MutableMapping[str, Any], body: bytes, returned: Answer) -> None:
        """Send a copy of a request, and compare the answers."""
        answer = await self._ask(routes, member, scope, body)
        theirs, ours = numbers_of(_json(returned.body)), numbers_of(_json(answer.body)) if answer else []
        counts: Counts = self._counts.of(member)
        if theirs and ours:
            counts.compare(theirs, ours)

    def _own(self, scope: MutableMapping[str, Any]) -> Answer:
        if scope["path"] == "/-/split":
            return _json_answer(200, {"revision": self._routes.revision, "weights": self._routes.weights, "pid": os.getpid()})
        if scope["path"] == "/-/slices":
            since = parse_qs(scope["query_string"].decode("latin-1")).get("since", ["0"])[0]
            with contextlib.suppress(ValueError):
                return _json_answer(200, {"now": time.time(), "slices": self._counts.since(float(since))})
        return _refusal(404, "there are /-/split and /-/slices?since=SECONDS")

    async def _send(self, send: Any, answer: Answer) -> None:
        headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
        headers += [(SERVED_BY.encode(), answer.member.encode())] if answer.member else []
        headers += [(b"connection", b"close")] if self._draining.is_set() else []
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def _json(content: bytes) -> Any:
    with contextlib.suppress(orjson.JSONDecodeError):
        return orjson.loads(content)
    return None


def _json_answer(status: int, content: Any) -> Answer:
    return Answer(status, [(b"content-type", b"application/json")], orjson.dumps(content), "")


def _refusal(status: int, text: str) -> Answer:
    return _json_answer(status, {"error": text})


def main() -> int:
    """Split requests until SIGTERM; return the exit status."""
    parser = argparse.ArgumentParser(prog="splitter", description="Split the requests of one service over its models.", allow_abbrev=False)
    parser.add_argument("--routes", type=Path, required=True, help="file that says which share each model gets; read again when it changes")
    parser.add_argument("--log", type=Path, help="file for all that is printed, rotated at 10 MB, two old ones kept (default standard error)")
    parser.add_argument("--slice_seconds", type=float, default=5.0, help="length of the slices of time in which requests are counted (default 5)")
    add_options(parser, "8080")
    arguments = parser.parse_args(sys.argv[1:])
    logging.basicConfig(level=logging.INFO)
    if arguments.log:
        log_to(arguments.log)
    draining = threading.Event()
    protocol = limited(header_seconds=HEADER_SECONDS, body_seconds=BODY_SECONDS, most=MOST_CONNECTIONS)
    config = uvicorn.Config(
        Splitter(arguments.routes, draining, arguments.slice_seconds), http=protocol, lifespan="on", access_log=False, log_config=None
    )
    asyncio.run(serve_until_stopped(config, Sockets.of(arguments), draining))
    return 0


if __name__ == "__main__":
    sys.exit(main())
