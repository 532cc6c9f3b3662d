"""A loopback HTTP server whose answers can be made to fail the way networks and platforms fail."""

import copy
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

Kind = Literal["status", "cut", "slow", "stale", "page", "truncated"]
#: What a login proxy or a captive portal answers, with status 200.
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in to continue</body></html>"


@dataclass
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: `status`: an error is answered; `cut`: the connection ends without an answer; `slow`: the answer comes late; `stale`: a read is
            answered from the state before the last write; `page`: status 200 with an HTML page, and the request does not reach the platform;
            `truncated`: the first half of the right answer, as a whole one.
        method: The HTTP method it waits for; empty: any.
        path: A regular expression searched in the path; empty: any.
        status: For `status`.
        done: Whether the request is carried out nevertheless, so that the client cannot know.
        seconds: For `slow`.
        message: The platform's words, for `status`.
        body: For `status`: answered as it is, as a proxy before the platform does. Default: an error in the platform's own form.
        times: How many requests meet it.
    """

    kind: Kind
    method: str = ""
    path: str = ""
    status: int = 503
    done: bool = False
    seconds: float = 5.0
    message: str = "injected"
    body: bytes | None = None
    times: int = 1

    def answer(self, server: "FaultyServer") -> tuple[int, Any]:
        """Return the error, for `status`."""
        return self.status, self.body if self.body is not None else server.error(Refusal(self.status, self.message))

    def meets(self, method: str, path: str) -> bool:
        """Whether this request is the one."""
        return (not self.method or self.method == method) and bool(re.search(self.path, path))


class Refusal(Exception):
    """An error that the platform answers on purpose.

    Args:
        status: The HTTP status.
        message: The platform's words.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass
class Request:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body parsed.

        Raises:
            Refusal: It is not JSON.
        """
        try:
            return json.loads(self.body or b"{}")
        except ValueError as error:
            raise Refusal(400, f"the body is not JSON: {error}") from error


@dataclass
class FaultyServer:
    """Base of the platforms' servers: a subclass answers requests from `state`, and tests put faults in the way.

    Attributes:
        state: All that the platform remembers; plain data, so that an older copy can be read from.
        faults: What goes wrong, each once, in the order of the requests that meet it.
        requests: All that came.
    """

    state: Any = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def respond(self, request: Request, state: Any) -> tuple[int, Any]:
        """Answer: status and JSON value, or bytes. Raises `Refusal` for what the platform refuses."""
        raise NotImplementedError

    def error(self, refusal: Refusal) -> Any:
        """Return the body of an error in the platform's own form."""
        return {"error": {"code": refusal.status, "message": refusal.message}}

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Serve on a loopback port of its own until the block ends."""
        handler = type("Handler", (_Handler,), {"owner": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        self._lock, self._before = threading.RLock(), copy.deepcopy(self.state)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5)

    def take(self, request: Request) -> tuple[int, Any] | None:
        """Answer a request, or None to cut the connection."""
        with self._lock:
            self.requests.append(request)
            fault = next((each for each in self.faults if each.meets(request.method, request.path)), None)
            if fault:
                fault.times -= 1
                if fault.times <= 0:  # the same fault may be in the list several times
                    self.faults.remove(fault)
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault and fault.kind == "page":
            return 200, PAGE
        if fault and fault.kind in ("status", "cut") and not fault.done:
            return None if fault.kind == "cut" else fault.answer(self)
        answer = self._carry_out(request, stale=bool(fault and fault.kind == "stale"))
        if fault and fault.kind == "cut":
            return None
        if fault and fault.kind == "truncated":
            content = json.dumps(answer[1]).encode()
            return answer[0], content[: len(content) // 2]
        return fault.answer(self) if fault and fault.kind == "status" else answer

    def _carry_out(self, request: Request, *, stale: bool) -> tuple[int, Any]:
        with self._lock:
            if request.method == "GET":
                state = copy.deepcopy(self._before) if stale else self.state
            else:
                self._before, state = copy.deepcopy(self.state), self.state
            try:
                return self.respond(request, state)
            except Refusal as refusal:
                return refusal.status, self.error(refusal)


def _content_type(value: Any) -> str:
    if not isinstance(value, bytes):
        return "application/json"
    return "text/html" if value.startswith(b"<") else "text/plain"


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyServer
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True  # an answer's head and body are two writes, and would wait 40 ms for each other

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {key.lower(): value for key, value in self.headers.items()}
        answer = self.owner.take(Request(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body))
        if answer is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, value = answer
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", _content_type(value))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):  # the client's patience ended first
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = do_PUT = _serve

    def log_message(self, format: str, *args: Any) -> None:
        pass
