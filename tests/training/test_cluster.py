import json

import pytest

from intermodal.runtime.errors import ConfigurationError
from intermodal.training.cluster import Cluster, find_cluster


def specification(cluster, kind, index):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


TWO = {"worker": ["a:1", "b:2"]}
VERTEX = {"chief": ["a:1"], "worker": ["b:2", "c:3"], "ps": ["d:4"]}
POOLS = {"workerpool0": ["a:1"], "workerpool1": ["b:2", "c:3"], "workerpool2": ["d:4"]}


@pytest.mark.parametrize(
    ("environment", "workers", "place"),
    [
        ({}, 1, None),
        ({"TF_CONFIG": " "}, 3, None),
        ({"TF_CONFIG": "{}"}, 3, None),
        ({"TF_CONFIG": specification(TWO, "worker", 1)}, 2, Cluster(1, 2, ("a:1", "b:2"), "TF_CONFIG")),
        ({"TF_CONFIG": specification(VERTEX, "chief", 0)}, 3, Cluster(0, 3, ("a:1", "b:2", "c:3"), "TF_CONFIG")),
        ({"TF_CONFIG": specification(VERTEX, "worker", 1)}, 3, Cluster(2, 3, ("a:1", "b:2", "c:3"), "TF_CONFIG")),
        ({"TF_CONFIG": specification({"chief": ["a:1"]}, "chief", 0)}, 1, Cluster(0, 1, ("a:1",), "TF_CONFIG")),
        ({"CLUSTER_SPEC": specification(POOLS, "workerpool1", 0)}, 3, Cluster(1, 3, ("a:1", "b:2", "c:3"), "CLUSTER_SPEC")),
        (
            {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1", "JAX_COORDINATOR_ADDRESS": "a:1"},
            2,
            Cluster(1, 2, ("a:1",), "JAX_NUM_PROCESSES"),
        ),
    ],
)
def test_a_place_is_read_from_what_the_launcher_set(environment, workers, place):
    found = find_cluster(environment, workers)
    assert found == place
    assert found is None or found.chief == (found.index == 0)


@pytest.mark.fault(
    "Wrong input", "TF_CONFIG or JAX's variables that are nonsense, or name another number of workers", "the message names the variable"
)
@pytest.mark.parametrize(
    ("environment", "workers", "words"),
    [
        ({"TF_CONFIG": "{"}, 2, r"TF_CONFIG in the environment is not JSON"),
        ({"TF_CONFIG": "[1]"}, 2, r"TF_CONFIG .* needs the objects `cluster` and `task`"),
        ({"TF_CONFIG": '{"cluster": {"worker": "a:1"}, "task": {}}'}, 2, r"cluster\.worker is \"a:1\"; it must be a list of host:port"),
        ({"TF_CONFIG": '{"cluster": {"wrokers": ["a:1"]}, "task": {}}'}, 2, r"cluster\.wrokers"),
        ({"TF_CONFIG": specification(TWO, "worker", 2)}, 2, r"this is task worker 2, and the workers are worker 0, worker 1"),
        ({"TF_CONFIG": specification(VERTEX, "ps", 0)}, 3, r"this is task ps 0, and the workers are chief 0, worker 0, worker 1"),
        ({"TF_CONFIG": specification(TWO, "worker", 0)}, 3, r"TF_CONFIG .* names 2 workers, and `workers` is 3"),
        ({"TF_CONFIG": specification(TWO, "worker", 0)}, 1, r"TF_CONFIG .* names 2 workers, and `workers` is 1"),
        ({"JAX_NUM_PROCESSES": "zero"}, 2, r"JAX_NUM_PROCESSES .* is 'zero'; it must be a whole number"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"}, 2, r"JAX_PROCESS_ID .* is '2'; it must be a whole number from 0 to 1"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}, 2, r"JAX_COORDINATOR_ADDRESS is not in the environment"),
        ({"JAX_PROCESS_ID": "1"}, 2, r"JAX_NUM_PROCESSES .* is ''"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(environment, workers, words):
    with pytest.raises(ConfigurationError, match=words):
        find_cluster(environment, workers)
