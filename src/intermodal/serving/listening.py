"""The sockets of a server of ours: when it accepts on which, how it ends without losing a request, and how its port goes to a successor."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn

#: What the process that passed the sockets writes to standard input when the server may serve on them.
SERVE: Final = b"serve"
#: Seconds that open connections get to end by themselves, each answer saying "Connection: close", before the server closes them.
DRAIN_SECONDS: Final = 2.0
_SETTLE_SECONDS: Final = 0.1
logger = logging.getLogger("intermodal.predictor")


@dataclass(frozen=True)
class Sockets:
    """Where a server accepts connections.

    Attributes:
        host: Address to listen on; not used with `public`.
        port: Port to listen on; not used with `public`.
        public: Descriptor of an inherited socket to serve on, once standard input says so.
        private: Descriptor of an inherited socket to serve on until then.
        control: Path of a Unix socket to make, on which to lend the public one to a successor.
    """

    host: str
    port: int
    public: int | None
    private: int | None
    control: Path | None

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> "Sockets":
        """Return what the options of `add_options` say."""
        return cls(parsed.host, parsed.http_port, parsed.public_fd, parsed.private_fd, parsed.control)


def add_options(parser: argparse.ArgumentParser, port: str) -> None:
    """Add the options of the sockets, with a default port."""
    parser.add_argument("--http_port", type=int, default=port, help=f"port (default {port})")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default all)")  # noqa: S104
    parser.add_argument("--public_fd", type=int, help="an inherited socket to serve on, instead of host and port, once standard input says so")
    parser.add_argument("--private_fd", type=int, help="with --public_fd: an inherited socket to serve on until then")
    parser.add_argument("--control", type=Path, help="path of a Unix socket to make, on which to lend the public one to a successor")


async def serve_until_stopped(config: uvicorn.Config, sockets: Sockets, draining: threading.Event, begun: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM: at once on host and port, or on the private socket until approved, and then on the public one.

    Args:
        config: The application and its limits.
        sockets: Where.
        draining: Is set when no more connections are taken; answers should then say "Connection: close".
        begun: Is called once it serves.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    private = None
    if sockets.public is None:
        public = socket.create_server((sockets.host, sockets.port), backlog=config.backlog)
    else:
        public = socket.socket(fileno=sockets.public)
        private = await _started(config, socket.socket(fileno=sockets.private)) if sockets.private is not None else None
        if not await _approved(stop):
            logger.info("the process that started this server ended or rejected it; ending")
            if private:
                await _ended(private)
            return
    serving = await _started(config, public)
    lent = _lend(public, sockets.control) if sockets.control else None
    if private:
        await _ended(private)
    begun()
    logger.info("serving on %s", public.getsockname())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([stopped, serving[1]], return_when=asyncio.FIRST_COMPLETED)
    await _drain(serving[0], lent, draining)
    await _ended(serving)


class _Server(uvicorn.Server):  # type: ignore[misc]
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve_until_stopped`, which has two of these to end."""
        yield


async def _started(config: uvicorn.Config, listening: socket.socket) -> "tuple[_Server, asyncio.Task[None]]":
    server = _Server(config)
    task = asyncio.create_task(server.serve([listening]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    return server, task


async def _ended(serving: "tuple[_Server, asyncio.Task[None]]") -> None:
    serving[0].should_exit = True
    await serving[1]


async def _approved(stop: asyncio.Event) -> bool:
    """Wait for `SERVE` on standard input; its end without that means that the process that started this server ended or rejected it."""
    loop = asyncio.get_running_loop()
    message: asyncio.Queue[bytes] = asyncio.Queue()
    loop.add_reader(0, lambda: message.put_nowait(os.read(0, 16)))
    waits: list[asyncio.Task[Any]] = [asyncio.create_task(message.get()), asyncio.create_task(stop.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    loop.remove_reader(0)
    return waits[0].done() and waits[0].result() == SERVE


async def _drain(server: _Server, lent: socket.socket | None, draining: threading.Event) -> None:
    """Accept no more, and let open connections end; uvicorn alone would cut one whose request is still on its way."""
    draining.set()
    loop = asyncio.get_running_loop()
    for each in server.servers:
        for listening in each.sockets:
            loop.remove_reader(listening.fileno())
    # asyncio resets a connection that it accepted, and has not set up yet, when its server is closed.
    await asyncio.sleep(_SETTLE_SECONDS)
    for each in server.servers:
        each.close()
    if lent is not None:
        lent.close()
    deadline = time.monotonic() + DRAIN_SECONDS
    while server.server_state.connections and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    server.should_exit = True


def _lend(public: socket.socket, control: Path) -> socket.socket:
    """Give the public socket to whoever connects to the control socket: a successor, so that no connection is ever refused or lost."""
    mine, door = public.dup(), socket.socket(socket.AF_UNIX)
    directory = os.open(control.parent, os.O_PATH)
    try:
        door.bind(f"/proc/self/fd/{directory}/{control.name}")  # a Unix socket's own path may have 107 characters only
    finally:
        os.close(directory)
    door.listen()

    def wait() -> None:
        while True:
            caller, _ = door.accept()
            with caller, contextlib.suppress(OSError):
                socket.send_fds(caller, [b"public"], [mine.fileno()])

    threading.Thread(target=wait, daemon=True, name="handover").start()
    return mine
