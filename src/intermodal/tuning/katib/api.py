"""The calls to a cluster that an Experiment of Katib needs."""

from typing import Any, ClassVar, Final

from intermodal.cluster.calls import NotFound
from intermodal.runtime.errors import PlatformError
from intermodal.workers.objects import Objects

API_VERSION: Final = "kubeflow.org/v1beta1"
#: Label of a trial's pod: the Experiment that it belongs to.
EXPERIMENT: Final = "intermodal/experiment"
#: Katib's label of a Trial.
_OF: Final = "katib.kubeflow.org/experiment"


class Experiments(Objects):
    """The Experiments of one namespace, with their trials and the trials' pods."""

    kind: ClassVar = "Experiment"
    group, _, version = API_VERSION.partition("/")
    plural: ClassVar = "experiments"
    label: ClassVar = EXPERIMENT
    role: ClassVar = "infra/kubernetes/searches.yaml"

    def check(self) -> None:
        """Check that Katib is installed.

        Raises:
            PlatformError: It is not.
        """
        try:
            found = self._plain(
                lambda **more: self._api.call_api(f"/apis/{API_VERSION}", "GET", auth_settings=["BearerToken"], _return_http_data_only=True, **more),
                "looking for Katib",
            )["resources"]
        except NotFound:
            found = []
        if missing := {"experiments", "trials"} - {each["name"] for each in found}:
            raise PlatformError(
                f"this cluster has no {' and no '.join(sorted(missing))} of {API_VERSION}: install Katib on it (docs/how-to/kubeflow.md), or remove "
                'tuning = "katib" from targets.toml, so that the trials run in the task itself'
            )

    def trials(self, name: str, uid: str) -> list[dict[str, Any]]:
        """Return the trials of an Experiment, the oldest first."""
        found: list[dict[str, Any]] = self._plain(
            lambda **more: self._custom.list_namespaced_custom_object(**self._place | {"plural": "trials"}, label_selector=f"{_OF}={name}", **more),
            f"listing the trials of Experiment {self.namespace}/{name}",
        )["items"]
        ours = [each for each in found if uid in {owner["uid"] for owner in each["metadata"].get("ownerReferences", [])}]
        return sorted(ours, key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"]))

    def limit(self, name: str, uid: str, trials: int) -> None:
        """Let an Experiment make so many trials at most."""
        body = {"metadata": {"uid": uid}, "spec": {"maxTrialCount": trials, "maxFailedTrialCount": trials}}
        self._calls.call(
            lambda: self._custom.patch_namespaced_custom_object(
                **self._place, name=name, body=body, _content_type="application/merge-patch+json", _request_timeout=self._calls.seconds
            ),
            f"limiting the trials of Experiment {self.namespace}/{name}",
        )
