"""The counts of both models from Prometheus."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from intermodal.rollout.judging.counts import Counts, Floats, Histogram, Moments
from intermodal.runtime.errors import ConfigurationError, StoreError

_TRANSIENT: Final = (429, 500, 502, 503, 504)
#: Seconds for which data may be missing at the end of a span before it is an error: two scrapes of a usual interval, and the time they take.
_STALE_SECONDS: Final = 90.0


@dataclass(frozen=True)
class Queries:
    """Cumulative counters of one model, in PromQL: selectors, or expressions that leave each series apart.

    Counters of single series are needed, not `rate(…)` and not `sum(…)`: a sum hides that one of them began again at 0. `$model` stands for the
    model's name on its platform, `$namespace` for the namespace.

    Attributes:
        requests: All requests.
        errors: Those that failed.
        latencies: The buckets of a histogram in seconds; empty: none.
        predictions: The buckets of a histogram of predictions; empty: none.
        business_sum: A counter that adds up a metric that is better when higher; empty: none.
        business_count: How many were added.
        loss_sum: A counter that adds up a loss by labels that came later; empty: none.
        loss_count: How many were added.
    """

    requests: str
    errors: str
    latencies: str = ""
    predictions: str = ""
    business_sum: str = ""
    business_count: str = ""
    loss_sum: str = ""
    loss_count: str = ""

    def of(self, model: str, namespace: str = "") -> "Queries":
        """Return the queries of one model."""
        values = {"$namespace": namespace, "$model": model}
        made = {}
        for each in fields(self):
            text = getattr(self, each.name)
            for name, value in values.items():
                text = text.replace(name, value)
            made[each.name] = text
        return Queries(**made)


_TRAEFIK: Final = 'service=~"$namespace-$model-predictor-.+"'
_POD: Final = 'namespace="$namespace",pod=~"$model-predictor-.+"'
#: What Traefik counts, those requests included that reach no pod. Its own buckets (.1, .3, 1.2, 5 s) are too wide for most models.
TRAEFIK: Final = Queries(
    requests=f"traefik_service_requests_total{{{_TRAEFIK}}}",
    errors=f'traefik_service_requests_total{{{_TRAEFIK},code=~"5.."}}',
    latencies=f"traefik_service_request_duration_seconds_bucket{{{_TRAEFIK}}}",
)
#: What our predictor counts, with the labels that Prometheus's discovery of pods usually gives.
PREDICTOR: Final = Queries(
    requests=f"intermodal_requests_total{{{_POD}}}",
    errors=f'intermodal_requests_total{{{_POD},code=~"5.."}}',
    latencies=f"intermodal_request_seconds_bucket{{{_POD}}}",
    predictions=f"intermodal_predictions_bucket{{{_POD}}}",
)
#: Requests and errors as the client sees them, latencies and predictions in fine buckets.
DEFAULT: Final = replace(TRAEFIK, latencies=PREDICTOR.latencies, predictions=PREDICTOR.predictions)


class Prometheus:
    """A Prometheus server, or what speaks its HTTP API (Thanos, Mimir, VictoriaMetrics, Managed Service for Prometheus)."""

    def __init__(self, url: str, *, seconds: float = 10.0, attempts: int = 3, headers: Mapping[str, str] | None = None) -> None:
        """Name the server; nothing is asked yet.

        Args:
            url: Its address, without `/api/v1`.
            seconds: How long to wait for the connection, and between two pieces of an answer.
            attempts: How often to ask where it answers 429 or 5xx, or the connection breaks.
            headers: Further headers, such as `Authorization`.
        """
        self._url, self._seconds, self._headers = url.rstrip("/"), seconds, dict(headers or {})
        self._retry = Retry(attempts - 1, backoff_factor=0.3, status_forcelist=_TRANSIENT, allowed_methods=None, raise_on_status=False)

    def now(self) -> float:
        """Return its time in seconds: the clock that spans of counts go by.

        Raises:
            StoreError: It does not answer.
        """
        found = self._ask("query", {"query": "time()"})
        try:
            return float(found["result"][1])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise StoreError(f"{self._url}: the answer to `time()` is {str(found)[:200]}; this is no Prometheus") from error

    def check(self, queries: Queries) -> None:
        """Ask every query once, so that a wrong one is known before a rollout begins. What they find is not looked at.

        Raises:
            ConfigurationError: It does not take a query; says which and why.
            StoreError: It does not answer.
        """
        for each in fields(queries):
            if text := getattr(queries, each.name):
                self._ask("query", {"query": text}, name=each.name)

    def counts(self, stable: Queries, candidate: Queries, *, since: float, slice_seconds: float = 15.0) -> Counts:
        """Return the counts of both models in whole slices from `since` until now.

        A counter that falls began again at 0 (a restarted pod), and one that appears while others of its model are there began at 0 too. Slices in
        which Prometheus has no data of a model are left out, and those after them, whose counts would be of both.

        Args:
            stable: The queries of the stable model.
            candidate: Those of the candidate.
            since: When the span begins, by the clock of `now`.
            slice_seconds: How long a slice is; no shorter than the interval of scrapes.

        Raises:
            ConfigurationError: It does not take a query.
            StoreError: It does not answer, has no data of the stable model, or none that is current.
        """
        now = self.now()
        if since > now + slice_seconds:
            raise StoreError(f"{self._url}: the span begins {since - now:.0f} s in the future by Prometheus's clock; the clocks differ")
        edges = np.asarray(since + np.arange(max(int((now - since) // slice_seconds), 0) + 1) * slice_seconds, np.float64)
        both = [self._read(queries, edges, model) for queries, model in ((stable, "stable model"), (candidate, "candidate"))]
        if len(edges) == 1:
            return _counts(edges, both, np.zeros(0, bool))
        there = np.stack([each["there"] for each in both])
        if not there[0].any() and edges[-1] - edges[0] > _STALE_SECONDS:
            raise StoreError(f"{self._url} has no data of the stable model since {edges[-1] - edges[0]:.0f} s: {stable.requests}")
        for present, queries, model in zip(there, (stable, candidate), ("stable model", "candidate"), strict=True):
            gone = edges[-1] - edges[np.flatnonzero(present)[-1]] if present.any() else 0.0
            if gone > _STALE_SECONDS:
                raise StoreError(f"{self._url} has had no data of the {model} for {gone:.0f} s: {queries.requests}")
        # The counter at both ends of a slice, of both models; a model that has not been there yet has had no request.
        begun = np.maximum.accumulate(there, axis=1)
        usable = np.all(there | ~begun, axis=0)
        return _counts(edges, both, usable[1:] & usable[:-1])

    def _read(self, queries: Queries, edges: Floats, model: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for each in fields(queries):
            text = getattr(queries, each.name)
            if not text:
                continue
            series = self._range(text, edges, each.name)
            if each.name == "requests":
                found["there"] = np.any([np.isfinite(values) for _, values in series], axis=0) if series else np.zeros(len(edges), bool)
            if each.name in ("latencies", "predictions"):
                found[each.name] = _buckets(series, found["there"], each.name, model)
            else:
                found[each.name] = _increases([values for _, values in series], found["there"])
        return found

    def _range(self, query: str, edges: Floats, name: str) -> list[tuple[Mapping[str, str], Floats]]:
        """Return each series' labels and its values at the edges; NaN where it has none."""
        step = float(edges[1] - edges[0]) if len(edges) > 1 else 1.0
        asked = {"query": query, "start": f"{edges[0]:.3f}", "end": f"{edges[-1]:.3f}", "step": f"{step:.3f}"}
        found = self._ask("query_range", asked, name=name)
        series = []
        try:
            for each in found["result"]:
                values = np.full(len(edges), np.nan)
                for time, value in each["values"]:
                    values[round((float(time) - edges[0]) / step)] = float(value)
                series.append((each["metric"], np.where(np.isfinite(values), values, np.nan)))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise StoreError(f"{self._url}: the answer to {name} ({query}) is no matrix ({error!r})") from error
        return series

    def _ask(self, path: str, values: Mapping[str, str], name: str = "") -> Any:
        query = f"{name} ({values['query']})" if name else values["query"]
        try:
            with requests.Session() as session:
                for scheme in ("http://", "https://"):
                    session.mount(scheme, HTTPAdapter(max_retries=self._retry))
                # POST as Prometheus's own clients do: a long query does not fit into an address.
                answer = session.post(f"{self._url}/api/v1/{path}", data=dict(values), headers=self._headers, timeout=self._seconds)
        except requests.RequestException as error:
            raise StoreError(f"Prometheus at {self._url} does not answer: {error}") from error
        try:
            content = json.loads(answer.content)
        except (ValueError, RecursionError):
            content = {}
        if not isinstance(content, dict):
            content = {}
        if answer.status_code in (400, 422):
            raise ConfigurationError(f"Prometheus at {self._url} does not take the query {query}: {content.get('error', answer.reason)}")
        if not answer.ok or content.get("status") != "success":
            raise StoreError(
                f"Prometheus at {self._url} answers HTTP {answer.status_code} to {query}: {str(content.get('error') or answer.reason)[:500]}"
            )
        return content["data"]


def _increases(series: list[Floats], there: Floats) -> Floats:
    """Return how much all series grew in each slice, shape (slices,), from their values at the edges."""
    total = np.zeros(max(len(there) - 1, 0))
    first = int(np.argmax(there)) if len(there) else 0
    for values in series:
        known = np.flatnonzero(np.isfinite(values))
        if not len(known):
            continue
        # What its model's first series had counted before is not of this span; a series that came later began at 0.
        before = float(values[known[0]]) if known[0] <= first else 0.0
        for place in known[known > 0]:
            value = float(values[place])
            total[place - 1] += value - before if value >= before else value
            before = value
    return total


def _buckets(series: list[tuple[Mapping[str, str], Floats]], there: Floats, name: str, model: str) -> tuple[Floats, Floats] | None:
    """Return a histogram's finite bounds, and how many were counted up to each of them, and in all, by slice; shape (slices, bounds + 1)."""
    by_bound: dict[float, list[Floats]] = {}
    for labels, values in series:
        if "le" not in labels:
            raise ConfigurationError(f"{name} of the {model} has no label `le`; name the histogram's series that end in _bucket")
        by_bound.setdefault(float(labels["le"]), []).append(values)
    bounds = sorted(by_bound)
    if not bounds or not math.isinf(bounds[-1]):
        return None
    return np.array(bounds[:-1]), np.stack([_increases(by_bound[each], there) for each in bounds], axis=1)


def _counts(edges: Floats, both: list[dict[str, Any]], usable: Any) -> Counts:
    def pair(name: str) -> Floats:
        return np.stack([each[name] for each in both], axis=1)

    asked = pair("requests")
    values: dict[str, Any] = {"requests": asked, "errors": np.minimum(pair("errors"), asked)}
    for name in ("latencies", "predictions"):
        values[name] = _histogram([each.get(name) for each in both], len(edges) - 1)
    for name in ("business", "loss"):
        if all(f"{name}_sum" in each and f"{name}_count" in each for each in both):
            of = pair(f"{name}_count")
            values[name] = Moments(pair(f"{name}_sum") / np.maximum(of, 1.0), np.zeros_like(of), of)
    return Counts(edges[:-1], edges[1:], **values).taken(usable)


def _histogram(found: list[tuple[Floats, Floats] | None], slices: int) -> Histogram | None:
    """Return both models' histograms at the bounds that both have; None where one has none."""
    known = [each for each in found if each is not None]
    if not known:
        return None
    common = known[0][0]
    for bounds, _ in known[1:]:
        common = np.intersect1d(common, bounds)
    if not len(common):
        return None
    counts = np.zeros((slices, 2, len(common) + 1))
    for model, each in enumerate(found):
        if each is None:  # no request yet
            continue
        bounds, cumulated = each
        places = np.append(np.searchsorted(bounds, common), len(bounds))
        counts[:, model] = np.maximum(np.diff(cumulated[:, places], axis=1, prepend=0.0), 0.0)
    return Histogram(common, counts)
