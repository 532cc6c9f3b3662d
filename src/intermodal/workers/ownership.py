"""An object that belongs to a task: created or taken over from an earlier attempt of it, and deleted with all of its pods."""

import time
from typing import Any, Final

from intermodal.cluster.calls import Conflict
from intermodal.runtime.errors import IntermodalError, PlatformError
from intermodal.workers.objects import Objects
from intermodal.workers.words import say

#: Annotation of such an object: the hash of its specification.
SPECIFICATION: Final = "intermodal/specification"
_GONE_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 0.5


def create(objects: Objects, wanted: dict[str, Any], made_of: str) -> dict[str, Any]:
    """Create an object, or take over that of an earlier attempt of the same task.

    One that runs, or has ended well, and that has the same specification is taken over. One that failed, is being deleted or has another
    specification is replaced.

    Args:
        objects: Those of its kind.
        wanted: Its manifest, whose owner is the task's pod.
        made_of: What it consists of, for the log.
    """
    name, deadline = wanted["metadata"]["name"], time.monotonic() + _GONE_SECONDS
    what = f"{objects.kind} {objects.namespace}/{name}"
    while True:
        try:
            made = objects.create(wanted)
        except Conflict:
            pass
        else:
            say(f"{what} created: {made_of}")
            return made
        if (found := objects.find(name)) is None:
            continue
        metadata = found["metadata"]
        failed = any(each["type"] == "Failed" and each["status"] == "True" for each in found.get("status", {}).get("conditions", []))
        same = metadata.get("annotations", {}).get(SPECIFICATION) == wanted["metadata"]["annotations"][SPECIFICATION]
        if same and not failed and "deletionTimestamp" not in metadata:
            say(f"{what} is there already, from an earlier attempt of this task: it is followed")
            objects.own(name, metadata["uid"], wanted["metadata"]["ownerReferences"][0])
            return found
        if "deletionTimestamp" not in metadata:
            say(f"{what} of an earlier attempt {'failed' if failed else 'differs'}: it is replaced")
            objects.delete(name, metadata["uid"])
        # Its pods too: they have the names and labels of those of the next one.
        while not _gone(objects, name, metadata["uid"]):
            if time.monotonic() > deadline:
                raise PlatformError(f"{what} is being deleted and is not gone after {_GONE_SECONDS:g} s; look at its finalizers and pods")
            time.sleep(_POLL_SECONDS)


def end(objects: Objects, made: dict[str, Any], seconds: float) -> str:
    """Delete an object, and wait until it and its pods are gone; return in words what became of it."""
    uid = made["metadata"].get("uid")
    name, deadline = made["metadata"]["name"], time.monotonic() + seconds
    if not uid:
        return "was not created"
    try:
        objects.delete(name, uid)
        while not _gone(objects, name, uid):
            if time.monotonic() >= deadline:
                return "is deleted, its pods are ending"
            time.sleep(_POLL_SECONDS)
    except IntermodalError as error:
        return f"may still run: {error}"
    return "is deleted, and its pods"


def _gone(objects: Objects, name: str, uid: str) -> bool:
    """Return whether an object, and all of its pods, are gone."""
    found = objects.find(name)
    return (found is None or found["metadata"]["uid"] != uid) and not objects.pods(name)
