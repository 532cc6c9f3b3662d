"""Progress of a training to Kubeflow Trainer's status server, where it gave this pod its address; `kubectl get trainjob -o yaml` then shows it.

The server is behind Trainer 2.3's feature gate `TrainJobStatus`. The payload is that of its `pkg/statusserver`.
"""

import json
import re
import ssl
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

from intermodal.workers.words import say

_SECONDS: Final = 5.0
#: A line of `intermodal.training.progress`.
_LINE: Final = re.compile(r"epoch (\d+)/(\d+)(?:, step (\d+)/(\d+))?: .*")
_METRIC: Final = re.compile(r"([a-z_]+) (-?\d+\.\d{4})\b")


class StatusServer:
    """Sends the newest progress, at most every five seconds, by a thread: a server that does not answer holds nothing up."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """Read the address from the environment; without one nothing is ever sent."""
        self._url, self._authority, self._token = (variables.get(f"KUBEFLOW_TRAINER_SERVER_{name}", "") for name in ("URL", "CA_CERT", "TOKEN"))
        self._newest: dict[str, Any] | None = None
        self._changed, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True, name="status-server")
        if self._url:
            self._thread.start()

    def hear(self, line: str) -> None:
        """Take a line of the chief's log."""
        if self._url and (found := _LINE.fullmatch(line.strip())):
            epoch, epochs, step, steps = (int(each) if each else None for each in found.groups())
            done = (epoch or 0) - 1 + (step / steps if step and steps else 1)
            self._newest = {
                "progressPercentage": min(100, int(100 * done / (epochs or 1))),
                "metrics": [{"name": name, "value": value} for name, value in _METRIC.findall(line)],
                "lastUpdatedTime": datetime.now(UTC).isoformat(),
            }
            self._changed.set()

    def end(self) -> None:
        """Send what is left."""
        self._ended.set()
        self._changed.set()
        if self._url:
            self._thread.join(2 * _SECONDS)

    def _send(self) -> None:
        while self._changed.wait() and not (self._ended.is_set() and self._newest is None):
            self._changed.clear()
            newest, self._newest = self._newest, None
            if newest is None:
                continue
            try:
                token = Path(self._token).read_text(encoding="utf-8").strip()
                request = Request(self._url, json.dumps({"trainerStatus": newest}).encode(), {"Authorization": f"Bearer {token}"})  # noqa: S310
                urlopen(request, context=ssl.create_default_context(cafile=self._authority), timeout=_SECONDS).close()  # noqa: S310
            except (OSError, ValueError) as error:
                say(f"Kubeflow Trainer's status server does not take the progress ({error}); it is in this log alone")
                return
            if self._ended.wait(_SECONDS):
                self._changed.set()
