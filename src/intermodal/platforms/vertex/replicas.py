"""The CustomJob behind a task whose workers run on several machines (`jobs`): which one it is, its state, its error, what its machines printed."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from google.api_core import exceptions as api
from google.cloud import aiplatform_v1 as aiplatform
from google.protobuf import json_format

from intermodal.compiler.specification import graphs, parameters_of
from intermodal.platforms.interface import RemoteTask
from intermodal.platforms.vertex.client import TIMEOUT, VertexClient, word
from intermodal.platforms.vertex.settings import VertexSettings
from intermodal.runner.runs import last_error
from intermodal.runtime.errors import PlatformError

#: The service's own label of a pipeline's job, which Google's launchers give what they create.
BILLING = "vertex-ai-pipelines-run-billing-id"
_CHIEF = "workerpool0-0"
# In the metadata of a launcher's execution, as Google's SDK reads it (google.cloud.aiplatform.model_evaluation).
_RESOURCES = "output:gcp_resources"
_WAITING = ("QUEUED", "PENDING")


class CustomJobs:
    """CustomJobs of one project and region.

    Args:
        client: The way there.
        settings: As `targets.toml` has them.
    """

    def __init__(self, client: VertexClient, settings: VertexSettings) -> None:
        self._client = client
        self._settings = settings
        self._words: dict[str, str] = {}  # a failed job's number to its workers' last words
        self._launching: dict[str, set[str]] = {}  # a pipeline's job to its tasks that create a CustomJob; its specification does not change

    def of(self, task: str, detail: Any, job: Any) -> Any:
        """Return the CustomJob that a task's launcher created, None before there is one, or for a task that creates none.

        Args:
            task: Its name.
            detail: Its details.
            job: The pipeline's.

        Raises:
            PlatformError: Vertex AI does not say.
        """
        if job.name not in self._launching:
            self._launching[job.name] = _launching(job)
        if task not in self._launching[job.name]:
            return None
        if name := _named(detail):
            with suppress(api.NotFound):
                return self._client.call(partial(self._client.jobs.get_custom_job, name=name, timeout=TIMEOUT, retry=None), acts_on=(api.NotFound,))
        number = job.labels.get(BILLING, "")
        request = {
            "parent": self._client.parent,
            "filter": f'labels.{BILLING}="{number}" AND display_name="{task}"',
            "page_size": 100,
        }
        if not number:
            return None
        found = self._client.call(lambda: list(islice(self._client.jobs.list_custom_jobs(request=request, timeout=TIMEOUT, retry=None), 100)))
        return max(found, key=lambda each: each.create_time, default=None)

    def described(self, task: RemoteTask, custom: Any, since: Any) -> RemoteTask:
        """Return a task with what its job says: it waits while the job waits for machines; why it failed are the words of the worker that ended it.

        Args:
            task: As its pipeline has it.
            custom: Its job.
            since: No later than the first line of its log.
        """
        state, number = word(custom.state, "JOB_STATE_"), custom.name.rpartition("/")[2]
        place = f"custom job {number}: {self._url(number)}"
        if task.state == "failed":
            words = self._last_words(custom, number, since) if state == "FAILED" else ""
            return replace(task, error=" · ".join(each for each in (words, custom.error.message or f"the job is {state}", place) if each))
        if task.state in ("pending", "running"):
            waits = state in _WAITING
            what = f"the job is {state.lower()}" + (", until there are machines" if waits else "")
            return replace(task, state="pending" if waits else task.state, reason=f"{what} · {place}")
        return task

    def lines(self, custom: Any, since: Any) -> Iterator[str]:
        """Yield what a job's machines printed, by time; lines of others than the chief name their machine."""
        for replica, line in self._client.entries(custom.name.rpartition("/")[2], since):
            yield line if replica in ("", _CHIEF) else f"[{replica}] {line}"

    def _last_words(self, custom: Any, number: str, since: Any) -> str:
        """Return the last error of the machine that ended the job, as far as the log has it."""
        if number not in self._words:
            self._words[number] = ""  # asked once: whoever follows a run would wait for it each time
            named = re.search(r"replica (workerpool\d+-\d+)", custom.error.message)
            with suppress(PlatformError):
                entries = list(self._client.entries(number, since))
                own = [line for replica, line in entries if not named or replica == named[1]]
                self._words[number] = last_error(own or [line for _, line in entries])
        return self._words[number]

    def _url(self, number: str) -> str:
        settings = self._settings
        return f"https://console.cloud.google.com/agent-platform/locations/{settings.region}/training/{number}?project={settings.project}"


def _launching(job: Any) -> set[str]:
    """Return the tasks of a pipeline's job that create a CustomJob."""
    specification = json_format.MessageToDict(aiplatform.PipelineJob.pb(job).pipeline_spec)
    if "components" not in specification:
        return set()
    tasks = [(name, each["componentRef"]["name"]) for graph in graphs(specification) for name, each in graph["tasks"].items()]
    return {name for name, component in tasks if "worker_pool_specs" in parameters_of(specification, component)}


def _named(detail: Any) -> str:
    """Return the name of the job that a launcher says it created; empty while it says nothing."""
    metadata = json_format.MessageToDict(aiplatform.PipelineTaskDetail.pb(detail).execution.metadata)
    with suppress(ValueError, TypeError, KeyError, IndexError):
        match = re.search(r"projects/[^/]+/locations/[^/]+/customJobs/[^/]+$", json.loads(metadata[_RESOURCES])["resources"][0]["resourceUri"])
        return match[0] if match else ""
    return ""
