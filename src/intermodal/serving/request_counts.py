"""What a predictor counts for Prometheus, at `/metrics`: requests by status, their seconds, and what was predicted."""

import threading
import time
from collections.abc import Iterable, MutableMapping
from typing import Any, Final

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

#: Upper bounds in seconds: 1 ms to 68 s, each 1.2 times the one before, so that a p95 of 1.3 times is seen.
LATENCY_BOUNDS: Final = tuple(round(0.001 * 1.2**power, 6) for power in range(62))
_FAR: Final = tuple(float(f"{digit}e{power}") for power in range(7) for digit in (1, 2, 5))[1:]
#: Upper bounds of predictions: twentieths between 0 and 1, then 2, 5, 10 and so on to both sides.
PREDICTION_BOUNDS: Final = (*(-each for each in reversed(_FAR)), -1.0, *(round(step / 20, 2) for step in range(21)), *_FAR)
_ENDS: Final = (":predict", "/infer")


class _Predictions(Collector):  # type: ignore[misc]
    """A histogram that takes arrays; `Histogram.observe` takes one value a call, and a request has up to millions."""

    def __init__(self) -> None:
        self._bounds = np.array(PREDICTION_BOUNDS)
        self._counts = np.zeros(len(PREDICTION_BOUNDS) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def add(self, values: np.ndarray) -> None:
        counts = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        with self._lock:  # requests are answered in threads
            self._counts += counts
            self._sum += float(values.sum())

    def collect(self) -> Iterable[HistogramMetricFamily]:
        names = [*(f"{bound:g}" for bound in PREDICTION_BOUNDS), "+Inf"]
        with self._lock:
            buckets, total = list(zip(names, np.cumsum(self._counts).tolist(), strict=True)), self._sum
        yield HistogramMetricFamily("intermodal_predictions", "predicted numbers; of several a row, the position of the largest", buckets, total)


class RequestCounts:
    """ASGI: counts the requests for predictions."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Register the metrics."""
        self._requests = Counter("intermodal_requests", "requests for predictions, by status", ["code"], registry=registry)
        self._seconds = Histogram("intermodal_request_seconds", "seconds until the answer was sent", buckets=LATENCY_BOUNDS, registry=registry)
        self._predictions = _Predictions()
        registry.register(self._predictions)
        self._requests.labels("200")

    def predicted(self, values: dict[str, np.ndarray]) -> None:
        """Count the predictions of one request: the first output's numbers, one a row."""
        first = next(iter(values.values()), np.zeros(0))
        if first.dtype.kind not in "biuf" or not first.size:
            return
        rows = first.reshape(len(first), -1).astype(np.float64)
        numbers = rows[:, 0] if rows.shape[1] == 1 else rows.argmax(axis=1).astype(np.float64)
        self._predictions.add(numbers[np.isfinite(numbers)])

    def around(self, app: Any, *paths: str | None) -> Any:
        """Return an application that counts the requests whose path is one of these or ends as the protocols' predictions do."""

        async def counted(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            path = scope.get("path", "")
            if scope["type"] != "http" or not (path.endswith(_ENDS) or path in paths):
                await app(scope, receive, send)
                return
            begun, code = time.perf_counter(), "500"

            async def noted(message: Any) -> None:
                nonlocal code
                if message["type"] == "http.response.start":
                    code = str(message["status"])
                await send(message)

            try:
                await app(scope, receive, noted)
            finally:
                self._requests.labels(code).inc()
                self._seconds.observe(time.perf_counter() - begun)

        return counted
