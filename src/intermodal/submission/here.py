"""Runs a configuration or a compiled file on this machine."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from intermodal.authoring.pipeline import load_job
from intermodal.configuration.sections import Place
from intermodal.linting.admission import is_compiled, read_pipeline
from intermodal.platforms.interface import submission_key
from intermodal.platforms.local.keys import claimed
from intermodal.platforms.local.runs import LocalRuns
from intermodal.runner.local import LocalTarget, read_specification
from intermodal.runtime.errors import ConfigurationError, PlatformError
from intermodal.submission.parameters import check_parameters
from intermodal.submission.prepare import run_name


def run_here(
    pipeline: Path,
    *,
    home: Path,
    console: Console,
    parameters: dict[str, Any] | None = None,
    overrides: list[str] | None = None,
    profile: list[str] | None = None,
    cached: bool = True,
    docker: bool = False,
    parallelism: int | None = None,
    name: str | None = None,
    key: str | None = None,
) -> None:
    """Run a pipeline to its end, and print a summary.

    Args:
        pipeline: A configuration or a compiled file.
        home: Folder for runs, cache, stores and deployments.
        console: Where progress and the summary are shown.
        parameters: Of a compiled file.
        overrides: `section.key=value` texts over a configuration.
        profile: The same, from the local target of `targets.toml`; `overrides` win.
        cached: Whether tasks reuse the outputs of earlier tasks with equal inputs.
        docker: Whether each task runs in a container of its image.
        parallelism: Most tasks that run at the same time. Default: the number of cores.
        name: The run's display name. Default: the configuration's `name`; of a compiled file, the file's.
        key: The same key twice is one run. Default: none.

    Raises:
        IntermodalError: The run failed; see `LocalTarget.run`.
        PlatformError: The key's run has failed.
    """
    documents = read_pipeline(pipeline)
    compiled = is_compiled(documents)
    if compiled and overrides:
        raise ConfigurationError(
            f"{pipeline}: --set does not go with a compiled file here; give its parameters by --params, or run the configuration"
        )
    if not compiled and parameters is not None:
        raise ConfigurationError(f"{pipeline}: --params goes with a compiled file; a configuration takes --set KEY=VALUE")
    title = run_name(name, pipeline.stem) if compiled or name is not None else ""
    target = LocalTarget(home, docker=docker, console=console, parallelism=parallelism)
    if compiled:
        run = partial(_run_compiled, target, pipeline, parameters or {})
    else:
        run = partial(_run_job, target, pipeline, overrides or [], profile or [])
    if key is None:
        run(console, cached, title)
        return
    # The configuration's own path counts: relative paths in it start there.
    where = "" if compiled else str(pipeline.resolve())
    content = json.dumps([documents, parameters, profile, overrides, cached, where], sort_keys=True, default=str)
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    with claimed(home.resolve(), submission_key(key), digest) as (identity, ended):
        if not ended:
            run(console, cached, title, identity)
            return
    found = LocalRuns(home).run(identity)
    console.print(f"Run      [bold]{identity}[/]  ({found.state}), started before under the key {key}", soft_wrap=True)
    if found.state != "succeeded":
        raise PlatformError(f"the run {identity} {found.state}: {found.error}; give another key to run it again")


def _run_compiled(target: LocalTarget, path: Path, given: dict[str, Any], console: Console, cached: bool, title: str, identity: str = "") -> None:
    specification = read_specification(path)
    finished = target.run(specification, check_parameters(specification, given), cached=cached, name=title, identity=identity)
    console.print(f"Done     {escape(str(finished.directory))}", soft_wrap=True)


def _run_job(
    target: LocalTarget, path: Path, overrides: list[str], profile: list[str], console: Console, cached: bool, title: str, identity: str = ""
) -> None:
    job = load_job(path, overrides, profile=profile)
    for note in job.notes:
        console.print(f"Note     {escape(note)}", soft_wrap=True)
    place = Place(job.base, folder=target.stage, source=lambda folder, pattern: str(folder / pattern), home=lambda key: str(target.home))
    finished = target.run(job.wire("local"), job.arguments("local", place), cached=cached, name=title, identity=identity)
    if job.pipeline.summary is None:
        console.print(f"Done     {escape(str(finished.directory))}", soft_wrap=True)
        return
    console.print()
    for line in job.pipeline.summary(finished):
        console.print(line, soft_wrap=True)
