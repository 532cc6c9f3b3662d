"""The commands that reach platforms: submit, follow, schedule, trigger, lint."""

import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from intermodal.runtime.errors import ConfigurationError, PlatformError

app = typer.Typer()
schedule = typer.Typer(help="Schedules on a platform: create, list, pause, resume, delete.", no_args_is_help=True)
app.add_typer(schedule, name="schedule")

console = Console(highlight=False)

Pipeline = Annotated[Path, typer.Argument(metavar="PIPELINE", help="A configuration (compiled on the way) or a compiled file.")]
Target = Annotated[str, typer.Option("--target", help="kubeflow, vertex or local.")]
Profile = Annotated[str | None, typer.Option("--profile", envvar="INTERMODAL_PROFILE", help="Of targets.toml; default: its default_profile.")]
TargetsFile = Annotated[Path, typer.Option("--targets", envvar="INTERMODAL_TARGETS", help="The targets file.")]
Parameters = Annotated[Path | None, typer.Option("--params", help="YAML file of pipeline parameters.")]
Configuration = Annotated[Path | None, typer.Option("--configuration", help="For a compiled file: describes its data, code and stores.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a configuration key; may be repeated.")]
Digests = Annotated[Path | None, typer.Option("--digests", help="JSON file: image name to sha256 digest.")]
Key = Annotated[str | None, typer.Option("--key", help="Makes it idempotent: the same key twice is one run. Default: random.")]
RunName = Annotated[str | None, typer.Option("--name", help="For people. Default: the file's name.")]
Cache = Annotated[bool, typer.Option("--cache/--no-cache", help="Reuse outputs of equal inputs, where the component allows it.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow it to its end; status 1 if it fails.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="As `submit` and `list --target` print it.")]
_TARGETS = Path("targets.toml")


@app.command()
def submit(
    pipeline: Pipeline,
    target: Target,
    profile: Profile = None,
    targets: TargetsFile = _TARGETS,
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
        _run_here(pipeline, params, configuration, overrides, digests, key, name, cache=cache, profile=profile, targets=targets)
        return
    goal, submission = _prepared(
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
    _start(goal, submission, wait=wait)


def _start(goal: Any, submission: Any, *, wait: bool) -> None:
    """Submit, say where it is, and follow it if asked to."""
    from intermodal.platforms.following import follow

    platform = goal.open()
    run = platform.submit(submission)
    console.print(f"Run      [bold]{run.id}[/]  ({run.state})\nKey      {submission.key}\nSee      [cyan]{run.url}[/]", soft_wrap=True)
    if not wait:
        return
    try:
        run = follow(platform, run, console, start_timeout=goal.settings.start_timeout)
    except KeyboardInterrupt:
        console.print(f"The run goes on; `intermodal cancel {run.id} --target {platform.name}` ends it.", soft_wrap=True)
        sys.exit(130)
    if run.state != "succeeded":
        _print_notes(run)
        said = next((f"{each.name}: {each.error}" for each in run.tasks if each.state == "failed" and each.error), "the platform gives no reason")
        reason = (run.error or said).rstrip(".")
        raise PlatformError(f"the run {run.id} {run.state}: {reason}; `intermodal logs {run.id} --target {platform.name}` shows what its tasks said")
    console.print(f"Done     {run.id}")


def _prepared(
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
    from intermodal.platforms.interface import submission_key
    from intermodal.submission.digests import read_digests
    from intermodal.submission.parameters import read_parameters
    from intermodal.submission.prepare import prepare

    checked = submission_key(key)
    goal = _goal(target, profile, targets)
    submission = prepare(
        pipeline,
        goal,
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
    return goal, submission


def say_uncached(images: tuple[str, ...]) -> None:
    """Say which images keep their tasks out of a platform's cache, if any do, and what to do about it."""
    if images:
        more = f" and {len(images) - 1} more images" if len(images) > 1 else ""
        console.print(f"Cache    off for {images[0]}{more}: the content behind a tag can change; name images by digest (--digests)", soft_wrap=True)


def _goal(target: str, profile: str | None, targets: Path) -> Any:
    from intermodal.configuration.targets import load_targets
    from intermodal.submission.prepare import destination

    return destination(load_targets(targets), target, profile)


def _platform(target: str, profile: str | None, targets: Path) -> Any:
    if target == "local":
        from intermodal.platforms.local.runs import LocalRuns

        return LocalRuns(_local(profile, targets).home)
    return _goal(target, profile, targets).open()


def _local(profile: str | None, targets: Path) -> Any:
    from intermodal.configuration.targets import LocalSettings, load_targets

    return load_targets(targets).profile(profile).local if targets.exists() or profile else LocalSettings()


def _run_here(
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
    """Run on this machine: a configuration as `intermodal run` does, a compiled file as it is."""
    from intermodal.cli.run import run_configuration
    from intermodal.linting.admission import is_compiled, read_pipeline
    from intermodal.platforms.interface import submission_key
    from intermodal.platforms.local.keys import claimed
    from intermodal.platforms.local.runs import LocalRuns
    from intermodal.runner.local import LocalTarget, read_specification
    from intermodal.submission.parameters import check_parameters, read_parameters
    from intermodal.submission.prepare import run_name, settings_overrides

    here = "--target local:"
    if digests:
        raise ConfigurationError(f"{here} tasks run in the environments of their images, which have no digest; leave --digests out")
    documents = read_pipeline(pipeline)
    local, compiled = _local(profile, targets), is_compiled(documents)
    if compiled and (configuration or overrides):
        option = "--configuration" if configuration else "--set"
        raise ConfigurationError(f"{here} {option} does not go with a compiled file here; give its parameters by --params, or run the configuration")
    if not compiled and (params or configuration):
        option = "--params" if params else "--configuration"
        raise ConfigurationError(f"{here} {option} goes with a compiled file; a configuration takes --set KEY=VALUE")

    given, settings = read_parameters(params) if params else {}, [*settings_overrides(local.set), *(overrides or [])]

    def run(identity: str = "") -> None:
        if compiled:
            specification = read_specification(pipeline)
            arguments = check_parameters(specification, given)
            target = LocalTarget(local.home, console=console, parallelism=local.parallelism)
            finished = target.run(specification, arguments, cached=cache, name=run_name(name, pipeline.stem), identity=identity)
            console.print(f"Done     {escape(str(finished.directory))}", soft_wrap=True)
            return
        run_configuration(
            pipeline,
            settings,
            home=local.home,
            docker=False,
            cache=cache,
            console=console,
            name=name or "",
            identity=identity,
            parallelism=local.parallelism,
        )

    if key is None:
        run()
        return
    # A configuration's folder counts: its paths start there.
    content = json.dumps([documents, given, settings, cache, "" if compiled else str(pipeline.resolve())], sort_keys=True, default=str)
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    with claimed(local.home.resolve(), submission_key(key), digest) as (identity, ended):
        if not ended:
            run(identity)
            return
        found = LocalRuns(local.home).run(identity)
        console.print(f"Run      [bold]{identity}[/]  ({found.state}), started before under the key {key}", soft_wrap=True)
        if found.state != "succeeded":
            raise PlatformError(f"the run {identity} {found.state}: {found.error}; give another key to run it again")


@app.command()
def upload(
    pipeline: Annotated[Path, typer.Argument(metavar="FILE", help="A compiled file.")],
    name: Annotated[str, typer.Option(help="The pipeline's name there.")],
    version: Annotated[str, typer.Option(help="The version's name, for instance the commit.")],
    target: Target = "kubeflow",
    profile: Profile = None,
    targets: TargetsFile = _TARGETS,
) -> None:
    """Upload a compiled pipeline as a version; the same version again changes nothing."""
    from intermodal.compiler.specification import forbid_caching_by_tag
    from intermodal.linting.admission import is_compiled, read_pipeline, refuse_errors

    if target != "kubeflow":
        raise ConfigurationError(f"--target {target}: only kubeflow keeps uploaded pipelines; on vertex, submit the file")
    documents = read_pipeline(pipeline)
    if not is_compiled(documents):
        raise ConfigurationError(f"{pipeline}: a configuration; `intermodal compile {pipeline}` writes the file to upload")
    refuse_errors(documents, target, str(pipeline))
    say_uncached(forbid_caching_by_tag(documents[0]))
    url = _platform(target, profile, targets).upload(documents, name, version)
    console.print(f"Uploaded {escape(name)} {escape(version)}\nSee      [cyan]{url}[/]", soft_wrap=True)


@app.command()
def status(run: RunId, target: Target, profile: Profile = None, targets: TargetsFile = _TARGETS) -> None:
    """Show a run and its tasks."""
    found = _platform(target, profile, targets).run(run)
    console.print(f"Run      [bold]{found.id}[/]  {found.state}\nName     {escape(found.name)}\nSee      [cyan]{found.url}[/]", soft_wrap=True)
    if found.error:
        console.print(f"Error    {escape(found.error)}", soft_wrap=True)
    _print_notes(found)
    now = datetime.now(UTC)
    table = _table("Task", "State", "Seconds", "")
    for task in found.tasks:
        seconds = task.seconds(now)
        table.add_row(task.name, task.state, "" if seconds is None else f"{seconds:.0f}", escape(task.error or task.reason))
    console.print(table)


def _print_notes(run: Any) -> None:
    for note in run.notes:
        console.print(f"Note     {escape(note)}", soft_wrap=True)


@app.command()
def logs(
    run: RunId,
    target: Target,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    profile: Profile = None,
    targets: TargetsFile = _TARGETS,
) -> None:
    """Print what a run's tasks said."""
    for name, line in _platform(target, profile, targets).logs(run, task):
        console.print(f"[dim]{escape(name)}[/]  {escape(line)}", soft_wrap=True)


@app.command()
def cancel(run: RunId, target: Target, profile: Profile = None, targets: TargetsFile = _TARGETS) -> None:
    """Ask the platform to end a run."""
    ended = _platform(target, profile, targets).cancel(run)
    console.print(f"{ended.id}  {ended.state}")


def list_runs(target: str, profile: str | None, targets: Path, limit: int) -> None:
    """Print the newest runs of a target."""
    table = _table("Run", "Name", "State", "Created")
    for run in _platform(target, profile, targets).runs(limit):
        table.add_row(run.id, escape(run.name), run.state, f"{run.created:%Y-%m-%d %H:%M}" if run.created else "")
    console.print(table)


@schedule.command(name="create")
def schedule_create(
    pipeline: Pipeline,
    target: Target,
    name: Annotated[str, typer.Option(help="Unique on the target.")],
    cron: Annotated[str, typer.Option(help="Five fields: minute, hour, day of month, month, day of week.")],
    time_zone: Annotated[str, typer.Option(help="An IANA name, for instance Europe/Zurich.")] = "UTC",
    profile: Profile = None,
    targets: TargetsFile = _TARGETS,
    params: Parameters = None,
    configuration: Configuration = None,
    overrides: Overrides = None,
    digests: Digests = None,
    cache: Cache = True,
) -> None:
    """Start runs on a schedule."""
    from intermodal.platforms.cron import check_cron

    check_cron(cron, time_zone)
    if target == "local":
        raise ConfigurationError(f"--target local: this machine keeps no schedules ({name!r}); have its cron run `intermodal run`")
    goal, submission = _prepared(
        pipeline, target, profile, targets, params=params, configuration=configuration, overrides=overrides, digests=digests, name=name, cache=cache
    )
    _print_schedules([goal.open().create_schedule(name, cron, time_zone, submission)])


@schedule.command(name="list")
def schedule_list(target: Target, profile: Profile = None, targets: TargetsFile = _TARGETS) -> None:
    """List the schedules."""
    _print_schedules(_platform(target, profile, targets).schedules())


@schedule.command(name="pause")
def schedule_pause(name: str, target: Target, profile: Profile = None, targets: TargetsFile = _TARGETS) -> None:
    """Pause a schedule."""
    _print_schedules([_platform(target, profile, targets).pause_schedule(name)])


@schedule.command(name="resume")
def schedule_resume(name: str, target: Target, profile: Profile = None, targets: TargetsFile = _TARGETS) -> None:
    """Resume a schedule, without catching up."""
    _print_schedules([_platform(target, profile, targets).resume_schedule(name)])


@schedule.command(name="delete")
def schedule_delete(name: str, target: Target, profile: Profile = None, targets: TargetsFile = _TARGETS) -> None:
    """Delete a schedule. Runs that it started go on; Kubeflow would kill them, so there it is refused while one is active."""
    _platform(target, profile, targets).delete_schedule(name)
    console.print(f"{escape(name)} is deleted.")


def _print_schedules(found: list[Any]) -> None:
    table = _table("Schedule", "Cron", "Time zone", "State", "Next run")
    for each in found:
        upcoming = f"{each.next_run:%Y-%m-%d %H:%M %Z}" if each.next_run else ""
        table.add_row(escape(each.name), escape(each.cron), each.time_zone, "paused" if each.paused else "active", upcoming)
    console.print(table)


@app.command()
def trigger(
    pipeline: Pipeline,
    target: Target,
    event: Annotated[str, typer.Option(help="JSON file of a CloudEvent or Pub/Sub message; - for standard input.")],
    match: Annotated[str, typer.Option(help="Only events whose subject matches this glob, for instance 'raw/*.csv'.")] = "*",
    profile: Profile = None,
    targets: TargetsFile = _TARGETS,
    configuration: Configuration = None,
    digests: Digests = None,
    wait: Wait = False,
) -> None:
    """Start a run for an event: new data, drift. An event delivered twice is one run."""
    from fnmatch import fnmatchcase

    from intermodal.runtime.safe_yaml import MOST_BYTES, read_text
    from intermodal.submission.events import parse_event
    from intermodal.submission.prepare import event_parameters

    try:
        text = sys.stdin.read(MOST_BYTES) if event == "-" else read_text(Path(event), "give a JSON file of one event, or - for standard input")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"--event -: {error}") from error
    happened = parse_event(text)
    if target == "local":
        raise ConfigurationError("--target local: an event starts a run on kubeflow or vertex; here, start `intermodal run`")
    if not fnmatchcase(happened.subject, match):
        subject = escape(repr(happened.subject or "nothing in particular"))
        console.print(f"Nothing to do: the event is about {subject}, not {escape(repr(match))}", soft_wrap=True)
        return
    values = event_parameters(happened, pipeline, configuration)
    goal, submission = _prepared(pipeline, target, profile, targets, values=values, configuration=configuration, digests=digests, key=happened.key)
    _start(goal, submission, wait=wait)


@app.command()
def lint(
    file: Annotated[Path, typer.Argument(help="A compiled pipeline or component.")],
    target: Annotated[str | None, typer.Option(help="kubeflow or vertex; default: both.")] = None,
) -> None:
    """Check a compiled file against what each platform accepts; status 1 if it has errors."""
    from intermodal.linting import lint as find

    findings = find(file, target)
    for each in findings:
        mark = "[red]error[/]  " if each.severity == "error" else "[yellow]warning[/]"
        console.print(f"{mark}  {escape(str(each.where))}  {escape(each.what)}", soft_wrap=True)
        console.print(f"         why: {escape(each.why)} ({' and '.join(each.platforms)}; {each.basis})", soft_wrap=True)
        console.print(f"         remedy: {escape(each.remedy)}  [dim]{escape(each.rule)}[/]", soft_wrap=True)
    errors = sum(each.severity == "error" for each in findings)
    console.print(f"{escape(str(file))}: {errors} errors, {len(findings) - errors} warnings", soft_wrap=True)
    if errors:
        raise typer.Exit(1)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
