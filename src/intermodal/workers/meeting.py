"""How the workers of one attempt find each other: each says in their folder where it listens, and is believed once it answers there."""

import hmac
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from intermodal.runtime.errors import MachineError
from intermodal.workers.exchange import Exchange

_POLL_SECONDS: Final = 0.5
#: How long a worker may take to answer.
_ANSWER_SECONDS: Final = 3.0
_AT_ONCE: Final = 16
_BYTES: Final = 32


@dataclass(frozen=True)
class Announced:
    """What a worker says of itself.

    Attributes:
        host: Its address.
        port: Where its command will listen.
        door: The port where it answers.
        key: What it answers with; no other process has the same.
    """

    host: str
    port: int
    door: int
    key: str

    def unreachable(self, seconds: float) -> str:
        """Return why the worker does not answer; empty: it does."""
        nonce = secrets.token_bytes(_BYTES)
        try:
            with socket.create_connection((self.host, self.door), timeout=seconds) as connection:
                connection.sendall(nonce)
                answer = b""
                while len(answer) < _BYTES and (part := connection.recv(_BYTES - len(answer))):
                    answer += part
        except OSError as error:
            return str(error) or type(error).__name__
        return "" if hmac.compare_digest(answer, _answer(self.key, nonce)) else "something else listens there"


class Door:
    """Answers, while this process lives, that it is the worker that announced itself with a key.

    A pod that is gone does not answer, and another process at its old port knows not the key.

    Args:
        host: Address to listen at.
        leaving: Whether the worker has been asked to end; it answers no more then.
    """

    def __init__(self, host: str, leaving: Callable[[], bool]) -> None:
        self.key, self._leaving = secrets.token_hex(_BYTES), leaving
        self._server = socket.create_server((host, 0), backlog=128)
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._serve, name="door", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread, which `close` does not
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                # One that sends nothing must not keep the others waiting.
                threading.Thread(target=self._reply, args=(connection,), daemon=True).start()

    def _reply(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(_ANSWER_SECONDS)
            nonce = b""
            while len(nonce) < _BYTES and (part := connection.recv(_BYTES - len(nonce))):
                nonce += part
            if len(nonce) == _BYTES and not self._leaving():
                connection.sendall(_answer(self.key, nonce))


def meet(exchange: Exchange, attempt: str, index: int, mine: Announced, workers: int, seconds: float) -> list[str]:
    """Say where this worker listens, wait until all others do and answer, and return `host:port` of all in their order.

    The folder may hold what pods said that are gone: a TrainJob that is suspended and resumed, or a runtime of another make, keeps the number of
    the attempt. Of each worker the newest that answers counts, and at the end all answer within one round.

    Args:
        exchange: The folder.
        attempt: Number of the attempt.
        index: Which worker this is.
        mine: Where it listens.
        workers: How many there are.
        seconds: How long to wait for the others.

    Raises:
        MachineError: Some have not said so, or do not answer, after `seconds`.
        PlatformError: The store cannot be reached, or refuses.
    """
    exchange.announce(attempt, index, f"{time.time_ns():020}-{mine.key[:8]}", json.dumps(asdict(mine)))
    known: dict[str, Announced] = {}
    deadline = time.monotonic() + seconds
    while True:
        names = exchange.announced(attempt)
        for key in (key for keys in names.values() for key in keys if key not in known):
            known[key] = Announced(**json.loads(exchange.read(key)))
        candidates = {each: [known[key] for key in sorted(names.get(each, ()), reverse=True)] for each in range(workers) if each != index}
        absent = [each for each, found in candidates.items() if not found]
        if not absent:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                found = dict(zip(candidates, pool.map(_first_that_answers, candidates.values()), strict=True))
            reached = {each: worker for each, (worker, _) in found.items() if worker} | {index: mine}
            if len(reached) == workers:
                return [f"{reached[each].host}:{reached[each].port}" for each in range(workers)]
            silent = {each: why for each, (worker, why) in found.items() if not worker}
        if time.monotonic() >= deadline:
            if absent:
                raise MachineError(
                    f"after {seconds:g} s {len(absent)} of {workers} workers have not started ({', '.join(map(str, absent))}); "
                    "look at their pods (kubectl describe pod), or ask for fewer workers"
                )
            each, why = next(iter(silent.items()))
            raise MachineError(
                f"after {seconds:g} s worker {index} cannot reach {len(silent)} of {workers} workers: worker {each} at {why}; look whether its pod "
                "runs, and let the pods reach each other on all ports (NetworkPolicy, a service mesh's sidecar)"
            )
        time.sleep(_POLL_SECONDS)


def _first_that_answers(candidates: list[Announced]) -> tuple[Announced | None, str]:
    """Return the first that answers, or why the newest does not."""
    reason = ""
    for each in candidates:
        why = each.unreachable(_ANSWER_SECONDS)
        if not why:
            return each, ""
        reason = reason or f"{each.host}:{each.door} ({why})"
    return None, reason


def _answer(key: str, nonce: bytes) -> bytes:
    return hmac.digest(key.encode(), nonce, "sha256")
