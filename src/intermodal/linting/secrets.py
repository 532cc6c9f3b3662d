"""Rules on secrets in a compiled file, which is committed, uploaded, and shown to everybody who can see the run."""

import re
from collections.abc import Iterator
from typing import Any

from intermodal.linting.document import Document, Place, mapping
from intermodal.linting.finding import Complaint, rule

_NAME = re.compile(r"(?:^|_|-)(?:password|passwd|secret|token|api_?key|private_?key|access_?key)$", re.IGNORECASE)
#: What is clearly no secret: nothing, a reference to a variable, a placeholder, a path, a resource's name.
_REFERENCE = re.compile(r"|\*+|\$.*|.*\{\{.*|/.*|projects/.*|[a-z]+://.*|<.*>", re.DOTALL)
_IN_URI = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/@:'\"]{0,100}:([^\s/@'\"]{1,200})@", re.IGNORECASE)
_KINDS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]{1,12} ){0,2}PRIVATE KEY-----"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a Google API key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b"),
    "a Google access token": re.compile(r"\bya29\.[0-9A-Za-z_-]{20,}"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{40,})"),
    "a GitLab token": re.compile(r"\bglpat-[0-9A-Za-z_-]{20,}"),
    "a Slack token": re.compile(r"\bxox[abprs]-[0-9A-Za-z-]{10,}"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z]{30,}\b"),
    "a signed token (JWT)": re.compile(r"\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}"),
}
#: A quick first test: every pattern above needs one of these, and most texts have none.
_HINT = re.compile("://|-----BEGIN|AKIA|ASIA|AIza|ya29|gh[pousr]_|github_pat_|glpat-|xox|hf_|eyJ", re.IGNORECASE)


@rule(
    "plain-secret",
    severity="warning",
    basis="inferred",
    why="the file is committed, uploaded, and shown to everybody who can see the run",
    source="Kubernetes documentation, Good practices for Secrets; Secret Manager documentation, best practices",
)
def _secrets(document: Document) -> Iterator[Complaint]:
    remedy = "remove it, renew it, and give the task the secret by its name (tasks.NAME.secrets of targets.toml)"
    for place, text in _texts(document):
        if not _HINT.search(text):
            continue
        if any(not _REFERENCE.fullmatch(password) for password in _IN_URI.findall(text)):
            yield Complaint(place, "a URI with a password", remedy)
        for kind, pattern in _KINDS.items():
            if pattern.search(text):
                yield Complaint(place, f"there is {kind}", remedy)
    for place, name, value in _named(document):
        if isinstance(value, str) and _NAME.search(str(name)) and not _REFERENCE.fullmatch(value):
            yield Complaint(place, f"the value of {name!r} is in the file", remedy)


def _texts(document: Document) -> Iterator[tuple[Place, str]]:
    """Yield every text of the specification; descriptions may give an example of a URI."""
    waiting: list[tuple[Place, Any]] = [((0,), document.specification)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, str):
            yield place, value
        elif isinstance(value, dict):
            waiting += [((*place, key), each) for key, each in value.items() if key != "description" or not isinstance(each, str)]
        elif isinstance(value, list):
            waiting += [((*place, index), each) for index, each in enumerate(value)]


def _named(document: Document) -> Iterator[tuple[Place, Any, Any]]:
    """Yield (place, name, value) of every variable, constant and default."""
    for place, container in document.containers():
        for index, variable in enumerate(container.get("env") or []):
            yield (*place, "env", index, "value"), mapping(variable).get("name"), mapping(variable).get("value")
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            for key, source in mapping(mapping(task.get("inputs")).get("parameters")).items():
                place = (*graph.place, "tasks", name, "inputs", "parameters", key)
                yield place, key, mapping(mapping(source).get("runtimeValue")).get("constant")
    for place, component in document.components_with_root():
        for key, definition in mapping(mapping(component.get("inputDefinitions")).get("parameters")).items():
            yield (*place, "inputDefinitions", "parameters", key, "defaultValue"), key, mapping(definition).get("defaultValue")
