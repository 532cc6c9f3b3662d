"""The calls to a cluster that a TrainJob needs."""

from typing import Any, ClassVar, Final

from intermodal.cluster.calls import NotFound
from intermodal.runtime.errors import PlatformError
from intermodal.workers.objects import Objects

API_VERSION: Final = "trainer.kubeflow.org/v1alpha1"
#: JobSet's labels of a pod: how often all pods were started again, and which of them it is.
ATTEMPT: Final = "jobset.sigs.k8s.io/restart-attempt"
INDEX: Final = "batch.kubernetes.io/job-completion-index"


class Jobs(Objects):
    """The TrainJobs of one namespace, with their pods."""

    kind: ClassVar = "TrainJob"
    group, _, version = API_VERSION.partition("/")
    plural: ClassVar = "trainjobs"
    label: ClassVar = "jobset.sigs.k8s.io/jobset-name"
    role: ClassVar = "infra/kubernetes/workers.yaml"

    def fields(self) -> set[str]:
        """Return the fields of a TrainJob's `spec` that the installed version of Kubeflow Trainer has.

        Raises:
            PlatformError: Kubeflow Trainer is not installed.
        """
        path, what = f"/openapi/v3/apis/{API_VERSION}", "reading the definition of TrainJob"
        try:
            schemas = self._plain(
                lambda **more: self._api.call_api(
                    path, "GET", header_params={"Accept": "application/json"}, auth_settings=["BearerToken"], _return_http_data_only=True, **more
                ),
                what,
            )["components"]["schemas"]
            found = next(each for name, each in schemas.items() if name.endswith(".TrainJob"))
        except (NotFound, StopIteration) as error:
            raise PlatformError(
                f"this cluster has no TrainJob ({API_VERSION}): install Kubeflow Trainer 2 on it (docs/how-to/kubeflow.md), or set workers=1"
            ) from error
        return set(found["properties"]["spec"]["properties"])

    def pods(self, name: str) -> list[dict[str, Any]]:
        """Return the pods of a TrainJob: of the newest attempt first, in the order of the workers, of each the newest first."""
        newest = sorted(super().pods(name), key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)
        return sorted(newest, key=lambda pod: (-attempt_of(pod), index_of(pod)))


def attempt_of(pod: dict[str, Any]) -> int:
    """Return how often all pods had been started again when this one was made."""
    return int(pod["metadata"].get("labels", {}).get(ATTEMPT, 0))


def index_of(pod: dict[str, Any]) -> int:
    """Return which worker a pod is."""
    return int(pod["metadata"].get("labels", {}).get(INDEX, 0))
