"""The commands that start runs elsewhere: submit, upload, trigger."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from intermodal.cli.options import (
    TARGETS,
    Cache,
    Configuration,
    Digests,
    Key,
    Overrides,
    Parameters,
    Pipeline,
    Profile,
    RunName,
    Target,
    TargetsFile,
    Wait,
    console,
    destination_of,
    example,
    local_settings,
    print_notes,
    say_uncached,
)
from intermodal.runtime.errors import ConfigurationError, PlatformError

app = typer.Typer()


@app.command(epilog=example("submit pipelines/flights.yaml --target vertex --key first --wait"))
def submit(
    pipeline: Pipeline,
    target: Target,
    profile: Profile = None,
    targets: TargetsFile = TARGETS,
    params: Parameters = None,
    configuration: Configuration = None,
    overrides: Overrides = None,
    digests: Digests = None,
    key: Key = None,
    name: RunName = None,
    cache: Cache = True,
    wait: Wait = False,
) -> None:
    """Start a run on a platform; on this machine (`--target local`) it is also followed to its end."""
    if target == "local":
        _here(pipeline, params, configuration, overrides, digests, key, name, cache=cache, profile=profile, targets=targets)
        return
    destination, submission = prepared(
        pipeline,
        target,
        profile,
        targets,
        params=params,
        configuration=configuration,
        overrides=overrides,
        digests=digests,
        key=key,
        name=name,
        cache=cache,
    )
    start(destination, submission, wait=wait)


def start(destination: Any, submission: Any, *, wait: bool) -> None:
    """Submit, say where it is, and follow it if asked to."""
    platform = destination.open()
    run = platform.submit(submission)
    console.print(f"Run      [bold]{run.id}[/]  ({run.state})\nKey      {submission.key}\nSee      [cyan]{run.url}[/]", soft_wrap=True)
    if wait:
        follow_to_end(platform, run, destination.settings.start_timeout)


def follow_to_end(platform: Any, run: Any, start_timeout: float) -> None:
    """Follow a run on a platform to its end; one that does not succeed is an error. Ctrl-C ends the following, and the run goes on."""
    from intermodal.platforms.following import follow

    try:
        run = follow(platform, run, console, start_timeout=start_timeout)
    except KeyboardInterrupt:
        console.print(f"The run goes on; `intermodal cancel {run.id} --target {platform.name}` ends it.", soft_wrap=True)
        sys.exit(130)
    if run.state != "succeeded":
        print_notes(run.notes)
        said = next((f"{each.name}: {each.error}" for each in run.tasks if each.state == "failed" and each.error), "the platform gives no reason")
        reason = (run.error or said).rstrip(".")
        raise PlatformError(f"the run {run.id} {run.state}: {reason}; `intermodal logs {run.id} --target {platform.name}` shows what its tasks said")
    console.print(f"Done     {run.id}")


def prepared(
    pipeline: Path,
    target: str,
    profile: str | None,
    targets: Path,
    *,
    params: Path | None = None,
    values: dict[str, Any] | None = None,
    configuration: Path | None = None,
    overrides: list[str] | None = None,
    digests: Path | None = None,
    key: str | None = None,
    name: str | None = None,
    cache: bool = True,
) -> tuple[Any, Any]:
    """Return where a submission goes, and the submission, with all files staged."""
    from intermodal.platforms.interface import submission_key
    from intermodal.submission.digests import read_digests
    from intermodal.submission.parameters import read_parameters
    from intermodal.submission.prepare import prepare

    checked = submission_key(key)
    destination = destination_of(target, profile, targets)
    submission = prepare(
        pipeline,
        destination,
        configuration=configuration,
        parameters=(read_parameters(params) if params else {}) | (values or {}),
        overrides=overrides,
        digests=read_digests(digests) if digests else None,
        name=name,
        key=checked,
        cached=None if cache else False,
    )
    if submission.cached is not False:
        say_uncached(submission.by_tag)
    print_notes(submission.notes)
    return destination, submission


def _here(
    pipeline: Path,
    params: Path | None,
    configuration: Path | None,
    overrides: list[str] | None,
    digests: Path | None,
    key: str | None,
    name: str | None,
    *,
    cache: bool,
    profile: str | None,
    targets: Path,
) -> None:
    """Run on this machine, with what a profile changes there."""
    from intermodal.linting.admission import is_compiled, read_pipeline
    from intermodal.submission.here import run_here
    from intermodal.submission.parameters import read_parameters
    from intermodal.submission.prepare import profile_settings

    if digests:
        raise ConfigurationError("--target local: tasks run in the environments of their images, which have no digest; leave --digests out")
    if configuration and is_compiled(read_pipeline(pipeline)):
        raise ConfigurationError(
            "--target local: --configuration does not go with a compiled file here; give its parameters by --params, or run the configuration"
        )
    if configuration:
        raise ConfigurationError("--target local: --configuration goes with a compiled file; a configuration takes --set KEY=VALUE")
    local = local_settings(profile, targets)
    run_here(
        pipeline,
        home=local.home,
        parallelism=local.parallelism,
        console=console,
        parameters=read_parameters(params) if params else None,
        overrides=overrides,
        profile=profile_settings(local.set),
        cached=cache,
        name=name,
        key=key,
    )


@app.command(epilog=example("upload pipelines/flights.yaml --target kubeflow --version 1"))
def upload(
    pipeline: Pipeline,
    version: Annotated[str, typer.Option(help="The version's name, for instance the commit.")],
    name: Annotated[str | None, typer.Option(help="The pipeline's name there. Default: the configuration's `name`, or the compiled file's.")] = None,
    target: Annotated[str | None, typer.Option(help="A platform that keeps uploaded pipelines; default: the first of them.")] = None,
    profile: Profile = None,
    targets: TargetsFile = TARGETS,
    digests: Digests = None,
) -> None:
    """Upload a pipeline as a version; the same version again changes nothing. A configuration is compiled on the way."""
    from intermodal.authoring.platform import remote_platforms
    from intermodal.submission.digests import read_digests
    from intermodal.submission.prepare import compiled_documents

    keeping = [each for each, platform in remote_platforms().items() if platform.uploads]
    target = target or keeping[0]
    if target not in keeping:
        raise ConfigurationError(f"--target {target}: only {' and '.join(keeping)} keeps uploaded pipelines; elsewhere, submit the file")
    destination = destination_of(target, profile, targets)
    documents, by_tag, notes = compiled_documents(pipeline, destination, read_digests(digests) if digests else None)
    say_uncached(by_tag)
    print_notes(notes)
    name = name or str(documents[0]["pipelineInfo"]["name"])
    url = destination.open().upload(documents, name, version)
    console.print(f"Uploaded {escape(name)} {escape(version)}\nSee      [cyan]{url}[/]", soft_wrap=True)


@app.command(epilog=example("trigger pipelines/flights.yaml --target vertex --event event.json --match 'raw/*.csv'"))
def trigger(
    pipeline: Pipeline,
    target: Target,
    event: Annotated[str, typer.Option(help="JSON file of a CloudEvent or Pub/Sub message; - for standard input.")],
    match: Annotated[str, typer.Option(help="Only events whose subject matches this glob, for instance 'raw/*.csv'.")] = "*",
    profile: Profile = None,
    targets: TargetsFile = TARGETS,
    configuration: Configuration = None,
    digests: Digests = None,
    wait: Wait = False,
) -> None:
    """Start a run for an event: new data, drift. An event delivered twice is one run of each configuration."""
    from fnmatch import fnmatchcase

    from intermodal.runtime.safe_yaml import MOST_BYTES, read_text
    from intermodal.submission.events import parse_event
    from intermodal.submission.prepare import event_submission

    try:
        text = sys.stdin.read(MOST_BYTES) if event == "-" else read_text(Path(event), "give a JSON file of one event, or - for standard input")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"--event -: {error}") from error
    happened = parse_event(text)
    if target == "local":
        raise ConfigurationError("--target local: an event starts a run on another platform; here, start `intermodal run`")
    if not fnmatchcase(happened.subject, match):
        subject = escape(repr(happened.subject or "nothing in particular"))
        console.print(f"Nothing to do: the event is about {subject}, not {escape(repr(match))}", soft_wrap=True)
        return
    values, key = event_submission(happened, pipeline, configuration)
    destination, submission = prepared(pipeline, target, profile, targets, values=values, configuration=configuration, digests=digests, key=key)
    start(destination, submission, wait=wait)
