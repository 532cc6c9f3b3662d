"""What a task was given, found in logs.

The driver of a task logs the ExecutorInput that it made (kubeflow/pipelines, backend/src/v2/cmd/driver), for a cached task too; kfp's own code
logs it again in the task (`kfp.dsl.executor_main`).
"""

import json
from contextlib import suppress
from typing import Any

_MARKS = ("output ExecutorInput:", "Got executor_input:")


def executor_input(log: str) -> dict[str, Any] | None:
    """Return the ExecutorInput that a log shows; None where it shows none, or half of one."""
    for mark in _MARKS:
        _, found, rest = log.partition(mark)
        with suppress(ValueError, RecursionError):
            value, _ = json.JSONDecoder().raw_decode(rest.lstrip())
            if found and isinstance(value, dict):
                return value
    return None
