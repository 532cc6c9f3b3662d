"""What commands share: options by name, where output goes, and how a target is found."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False)

Pipeline = Annotated[Path, typer.Argument(metavar="PIPELINE", help="A configuration (compiled on the way) or a compiled file.")]
Target = Annotated[str, typer.Option("--target", help="A platform of targets.toml, or local: this machine.")]
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
TARGETS = Path("targets.toml")

Home = Annotated[Path, typer.Option("--home", envvar="INTERMODAL_HOME", help="Folder for runs, cache, stores and deployments.")]
HOME = Path(".intermodal")


def example(*commands: str) -> str:
    """Return the end of a command's help: how it is typed."""
    return "Example: " + "; ".join(f"`intermodal {each}`" for each in commands)


def say_uncached(images: tuple[str, ...]) -> None:
    """Say which images keep their tasks out of a platform's cache, if any do, and what to do about it."""
    if images:
        more = f" and {len(images) - 1} more images" if len(images) > 1 else ""
        console.print(f"Cache    off for {images[0]}{more}: the content behind a tag can change; name images by digest (--digests)", soft_wrap=True)


def destination_of(target: str, profile: str | None, targets: Path) -> Any:
    """Return a target of a profile (`submission.prepare.Destination`)."""
    from intermodal.configuration.targets import load_targets
    from intermodal.submission.prepare import find_destination

    return find_destination(load_targets(targets), target, profile)


def open_platform(target: str, profile: str | None, targets: Path) -> Any:
    """Return what answers for the runs of a target: a platform's client, or this machine's folder."""
    if target == "local":
        from intermodal.authoring.platform import platforms

        return platforms()[target].open(local_settings(profile, targets))
    return destination_of(target, profile, targets).open()


def local_settings(profile: str | None, targets: Path) -> Any:
    """Return this machine's part of a profile, or its defaults where there is no targets file."""
    from intermodal.configuration.targets import load_targets
    from intermodal.platforms.local.settings import LocalSettings

    return load_targets(targets).profile(profile).local if targets.exists() or profile else LocalSettings()


def table_of(*columns: str) -> Table:
    """Return a table whose columns fold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_notes(notes: tuple[str, ...]) -> None:
    """Print what a person should know of a submission, a run or its platform."""
    for note in notes:
        console.print(f"Note     {escape(note)}", soft_wrap=True)
