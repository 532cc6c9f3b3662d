"""Which of the workers of a training this process is, as its launcher says in the environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intermodal.runtime.errors import ConfigurationError

_TENSORFLOW = ("TF_CONFIG", "CLUSTER_SPEC")
_JAX = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_COORDINATOR_ADDRESS")
#: Kinds of tasks that train, in the order in which they are numbered: TensorFlow's names, and those of Vertex AI's CLUSTER_SPEC.
_TRAINING = ("chief", "master", "worker", "workerpool0", "workerpool1")
#: Kinds beside them that a launcher may start and that train nothing: reduction servers, evaluators.
_OTHERS = ("ps", "evaluator", "workerpool2", "workerpool3")


@dataclass(frozen=True)
class Cluster:
    """A worker's place.

    Attributes:
        index: Number of this worker, from 0, the chief.
        count: Number of workers.
        addresses: `host:port` of each worker; only the chief's where the launcher names no other; none where it is the only one.
        source: The variable that says so; empty: none does.
    """

    index: int
    count: int
    addresses: tuple[str, ...] = ()
    source: str = ""

    @property
    def chief(self) -> bool:
        """Whether this worker writes the outputs."""
        return self.index == 0


def find_cluster(environment: Mapping[str, str], workers: int) -> Cluster | None:
    """Return the place that a launcher gave this process; None where none did.

    Read are `TF_CONFIG` (TensorFlow; Vertex AI), `CLUSTER_SPEC` (Vertex AI), and `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID` and `JAX_COORDINATOR_ADDRESS`
    (Kubeflow Trainer), the first that is set.

    Args:
        environment: For instance `os.environ`.
        workers: How many workers there are to be.

    Raises:
        ConfigurationError: A variable is not what its name promises, or names another number of workers.
    """
    found = next((_of_specification(name, environment[name]) for name in _TENSORFLOW if environment.get(name, "").strip()), None)
    if found is None and any(environment.get(name, "").strip() for name in _JAX):
        found = _of_numbers(environment)
    if found and found.count != workers:
        raise ConfigurationError(
            f"{found.source} in the environment names {found.count} workers, and `workers` is {workers}; start as many as `workers` says"
        )
    return found


def _of_specification(name: str, text: str) -> Cluster | None:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{name} in the environment is not JSON ({error}): {text[:80]!r}; correct what starts the workers") from error
    cluster, task = (content.get("cluster"), content.get("task")) if isinstance(content, dict) else (None, None)
    if isinstance(content, dict) and not cluster:
        return None  # as TensorFlow reads it: not distributed
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise ConfigurationError(f"{name} in the environment needs the objects `cluster` and `task`: {text[:80]!r}; correct what starts the workers")
    known = {*_TRAINING, *_OTHERS}
    for kind, addresses in cluster.items():
        if kind not in known or not isinstance(addresses, list) or not all(isinstance(each, str) and each for each in addresses):
            raise ConfigurationError(
                f"{name} in the environment: cluster.{kind} is {json.dumps(addresses)[:80]}; it must be a list of host:port of {', '.join(_TRAINING)}"
            )
    places = [(kind, index) for kind in _TRAINING for index in range(len(cluster.get(kind, ())))]
    mine = (task.get("type"), _whole(task.get("index", 0)))
    if mine not in places:
        there = ", ".join(f"{kind} {index}" for kind, index in places) or "none"
        raise ConfigurationError(f"{name} in the environment: this is task {mine[0]} {task.get('index')}, and the workers are {there}")
    return Cluster(places.index(mine), len(places), tuple(cluster[kind][index] for kind, index in places), name)


def _of_numbers(environment: Mapping[str, Any]) -> Cluster:
    values = {name: str(environment.get(name, "")).strip() for name in _JAX}
    count, index = _whole(values["JAX_NUM_PROCESSES"]), _whole(values["JAX_PROCESS_ID"])
    if count is None or count < 1:
        raise ConfigurationError(f"JAX_NUM_PROCESSES in the environment is {values['JAX_NUM_PROCESSES']!r}; it must be a whole number, at least 1")
    if index is None or index >= count:
        raise ConfigurationError(
            f"JAX_PROCESS_ID in the environment is {values['JAX_PROCESS_ID']!r}; it must be a whole number from 0 to {count - 1}"
        )
    address = values["JAX_COORDINATOR_ADDRESS"]
    if count > 1 and not address:
        raise ConfigurationError("JAX_COORDINATOR_ADDRESS is not in the environment; give host:port of worker 0")
    return Cluster(index, count, (address,) if address else (), "JAX_NUM_PROCESSES")


def _whole(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() else None
