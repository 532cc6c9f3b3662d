"""A folder in an object store that the workers of one task and their launcher share: who is where, and what the chief made."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from intermodal.runtime.artifacts import whole_file
from intermodal.runtime.errors import PlatformError
from intermodal.storage.fetching import fetch
from intermodal.storage.object_store import Content, endpoint_here, place_of
from intermodal.storage.sending import remove, send
from intermodal.workers.executor_input import Stored, Task

_OUTPUTS: Final = "outputs.json"


class Exchange:
    """The folder of one TrainJob.

    Args:
        uri: Where it is: ``s3://``, ``gs://`` or ``minio://``; an S3-compatible store that is not AWS is named by ``AWS_ENDPOINT_URL``.
    """

    def __init__(self, uri: str) -> None:
        self._uri, self._endpoint = uri.rstrip("/"), endpoint_here()
        self._store, self._key = place_of(self._uri, self._endpoint)

    def check(self) -> None:
        """Check that the folder can be written.

        Raises:
            PlatformError: The store cannot be reached, or refuses.
        """
        self._store.put(f"{self._key}/.writable", Content(b""))

    def announce(self, attempt: str, index: int, name: str, content: str) -> None:
        """Write what a worker of an attempt says of itself, under a name of its own that sorts by time."""
        self._store.put(f"{self._key}/attempt-{attempt}/worker-{index}/{name}", Content(content.encode()))

    def announced(self, attempt: str) -> dict[int, list[str]]:
        """Return the keys of what the workers of an attempt have said of themselves, by worker.

        Raises:
            PlatformError: The store cannot be reached, or refuses.
        """
        prefix, found = f"{self._key}/attempt-{attempt}/worker-", dict[int, list[str]]()
        for key in self._store.keys(prefix):
            found.setdefault(int(key.removeprefix(prefix).partition("/")[0]), []).append(key)
        return found

    def read(self, key: str) -> str:
        """Return what a key holds."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "object")
            self._store.get(key, path)
            return path.read_text(encoding="utf-8")

    def publish(self, task: Task, attempt: str) -> int:
        """Upload what a task wrote; the list of it comes last, so that it is there whole or not at all. Return the number of files.

        Raises:
            PlatformError: The store cannot be reached, or refuses.
        """
        present = [(place, each) for place, each in _numbered(task.outputs) if each.path.exists()]
        files = sum(send(each.path, f"{self._uri}/attempt-{attempt}/{place}", self._endpoint) for place, each in present)
        listed = {
            "attempt": attempt,
            "artifacts": [place for place, _ in present],
            "parameters": {name: path.read_text(encoding="utf-8") for name, path in task.output_parameters.items() if path.is_file()},
            "executor_output": task.executor_output.read_text(encoding="utf-8") if task.executor_output.is_file() else None,
        }
        self._store.put(f"{self._key}/{_OUTPUTS}", Content(json.dumps(listed).encode()))
        return files

    def collect(self, task: Task) -> None:
        """Bring what the chief uploaded to the paths where the task should have written it.

        Raises:
            PlatformError: It is not there, or the store cannot be reached.
        """
        if f"{self._key}/{_OUTPUTS}" not in self._store.keys(f"{self._key}/{_OUTPUTS}"):
            raise PlatformError(f"{self._uri}: the workers ended well, but their outputs are not there; was the folder deleted meanwhile? Run again")
        listed: dict[str, Any] = json.loads(self.read(f"{self._key}/{_OUTPUTS}"))
        for place, each in _numbered(task.outputs):
            if place in listed["artifacts"]:
                fetch(f"{self._uri}/attempt-{listed['attempt']}/{place}", each.path, self._endpoint)
        texts = {path: listed["parameters"][name] for name, path in task.output_parameters.items() if name in listed["parameters"]}
        if listed["executor_output"] is not None:
            texts[task.executor_output] = listed["executor_output"]
        for path, text in texts.items():
            with whole_file(path) as scratch:
                scratch.write_text(text, encoding="utf-8")

    def remove(self) -> None:
        """Delete the folder."""
        remove(self._uri, self._endpoint)


def _numbered(artifacts: list[Stored]) -> Iterator[tuple[str, Stored]]:
    """Yield (place, artifact); an output may have several artifacts."""
    seen: dict[str, int] = {}
    for each in artifacts:
        seen[each.name] = seen.get(each.name, -1) + 1
        yield f"outputs/{each.name}/{seen[each.name]}", each
