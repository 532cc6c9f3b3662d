"""What several requests to Kubeflow Pipelines have in common."""

import json
from typing import Any

from intermodal.compiler.specification import forbid_caching
from intermodal.platforms.interface import Submission

#: Rows of one page of a list.
PAGE = 100


def pipeline_of(submission: Submission) -> dict[str, Any]:
    """Return the pipeline as a run or a schedule takes it: the specification, with the platform's document where there is one."""
    specification = forbid_caching(submission.specification) if submission.cached is False else submission.specification
    return {"pipeline_spec": specification, "platform_spec": submission.platform} if submission.platform else specification


def note(submission: Submission) -> str:
    """Return the description of a run or a schedule, which says what it was made from."""
    labels = "".join(f" {key}={value}" for key, value in sorted(submission.labels.items()))
    return f"intermodal {submission.digest}{labels}"


def filtered(operation: str = "EQUALS", **wanted: str) -> str:
    """Return a filter of a list: rows whose members have these values."""
    return json.dumps({"predicates": [{"operation": operation, "key": key, "stringValue": text} for key, text in wanted.items()]})
