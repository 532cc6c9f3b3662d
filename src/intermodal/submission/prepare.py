"""Makes a submission for a platform from a configuration or a compiled file."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from intermodal.authoring.pipeline import Job, load_job
from intermodal.authoring.platform import Platform, find_platform, remote_platforms
from intermodal.compiler.specification import Specification, forbid_caching_by_tag
from intermodal.configuration.sections import Place
from intermodal.configuration.targets import RemoteSettings, Targets
from intermodal.linting.admission import is_compiled, read_pipeline, refuse_errors
from intermodal.platforms.compiling import ClusterTarget
from intermodal.platforms.interface import RemoteTarget, Submission
from intermodal.runtime.errors import ConfigurationError
from intermodal.storage.staging import Staging
from intermodal.submission.events import Event, allowed_parameters
from intermodal.submission.parameters import check_fixed, check_parameters

_NAME_LENGTH = 60
#: The label with the configuration's name, where a platform has labels.
NAME_LABEL = "intermodal-name"


@dataclass(frozen=True)
class Destination:
    """A target of a profile: where submissions go.

    Attributes:
        platform: The platform.
        settings: As `targets.toml` has them.
        targets: The whole file, for the shapes.
    """

    platform: Platform
    settings: RemoteSettings
    targets: Targets

    @property
    def name(self) -> str:
        """The platform's name."""
        return self.platform.name

    def known(self, digests: dict[str, str]) -> dict[str, Any]:
        """Return the settings that the platform itself supplies, by configuration key; see `Platform.known`."""
        return self.platform.known(self.settings, digests)

    def open(self) -> RemoteTarget:
        """Return the platform's client; it sends no request yet.

        Raises:
            MachineError: The platform's client is not installed.
        """
        target: RemoteTarget = self.platform.open(self.settings)
        return target


def find_destination(targets: Targets, name: str, profile: str | None) -> Destination:
    """Return a target of a profile.

    Raises:
        ConfigurationError: There is no such target or profile, or the profile does not have the target.
    """
    platform = find_platform(name)
    settings: RemoteSettings | None = getattr(targets.profile(profile), name)
    if settings is None:
        chosen = profile or targets.default_profile
        raise ConfigurationError(f"targets.toml: the profile {chosen!r} has no target {name!r}; add [profiles.{chosen}.{name}]")
    return Destination(platform, settings, targets)


def prepare(
    pipeline: Path,
    destination: Destination,
    *,
    configuration: Path | None = None,
    parameters: dict[str, Any] | None = None,
    overrides: list[str] | None = None,
    digests: dict[str, str] | None = None,
    name: str | None = None,
    key: str,
    cached: bool | None = None,
) -> Submission:
    """Compile where needed, check the parameters, and stage the files of this machine that tasks need.

    Args:
        pipeline: A configuration, which is compiled first, or a compiled file.
        destination: Where it goes.
        configuration: Of a compiled file: the configuration with its data, code and stores. Default: none; `parameters` has them.
        parameters: Override the configuration's.
        overrides: `section.key=value` texts over the configuration, after the target's own `set`.
        digests: Image name to digest. A compiled file keeps its tasks' images; the predictor's image always takes its digest from here.
        name: The run's display name. Default: the configuration's `name`; of a compiled file without one, the file's.
        key: See `interface.submission_key`.
        cached: See `interface.Submission`.

    Raises:
        ConfigurationError: A file, a setting or a parameter is wrong. All parameters are checked before anything is staged.
        PlatformError: The artifact root cannot be written.
    """
    values = read_pipeline(pipeline)
    compiled = is_compiled(values)
    described = configuration if compiled else pipeline
    job = (
        load_job(described, overrides, profile=profile_settings(destination.settings.set), known=destination.known(digests or {}))
        if described
        else None
    )
    title = run_name(name, job.settings.name if job else pipeline.stem)
    if compiled:
        specification, platform = values[0], values[1] if len(values) > 1 else {}
    elif job:
        specification, platform = compile_for(destination.name, job, destination=destination, digests=digests)
    refuse_errors([specification, *([platform] if platform else [])], destination.name, str(pipeline))
    given = parameters or {}
    arguments = _arguments(job, destination, given, stage=False) if job else {}
    checked = check_parameters(specification, arguments | given)
    check_fixed(specification, destination.platform.fixed, checked, str(pipeline))
    if job:
        checked |= _arguments(job, destination, given, stage=True)
    return Submission(
        specification=specification,
        platform=platform,
        by_tag=forbid_caching_by_tag(specification),
        parameters=checked,
        name=title,
        labels={NAME_LABEL: job.settings.name} if job else {},
        key=key,
        cached=cached if destination.settings.cached else False,
        notes=job.notes if job else (),
    )


def compiled_documents(
    pipeline: Path, destination: Destination, digests: dict[str, str] | None = None
) -> tuple[list[dict[str, Any]], tuple[str, ...], tuple[str, ...]]:
    """Return a pipeline's documents for a target, the images referenced by tag, whose tasks are not cached there, and notes for the user.

    Args:
        pipeline: A configuration, compiled on the way, or a compiled file.
        destination: Where it goes.
        digests: Image name to digest; a compiled file keeps its own.

    Raises:
        ConfigurationError: The file is wrong, or the target would refuse the pipeline.
    """
    documents = read_pipeline(pipeline)
    notes: tuple[str, ...] = ()
    if not is_compiled(documents):
        job = load_job(pipeline, profile=profile_settings(destination.settings.set), known=destination.known(digests or {}))
        documents = [each for each in compile_for(destination.name, job, destination=destination, digests=digests) if each]
        notes = job.notes
    refuse_errors(documents, destination.name, str(pipeline))
    return documents, forbid_caching_by_tag(documents[0]), notes


def targets_of(job: Job, wanted: list[str] | None) -> list[str]:
    """Return the targets that a pipeline is compiled for: those wanted, by default each that it runs on.

    Raises:
        ConfigurationError: There is no such target.
    """
    for name in wanted or ():
        find_platform(name)
    return wanted or [name for name in remote_platforms() if job.runs_on(name)]


def event_submission(event: Event, pipeline: Path, configuration: Path | None) -> tuple[dict[str, Any], str]:
    """Return what an event contributes to a submission.

    Args:
        event: The event.
        pipeline: See `prepare`.
        configuration: See `prepare`.

    Returns:
        The parameters that the event sets, and the submission's key: one for each configuration's `name`, so that one event can start two pipelines.

    Raises:
        ConfigurationError: The event sets a parameter that the configuration does not let events set, or a file is wrong.
    """
    documents = read_pipeline(pipeline)
    described = configuration if is_compiled(documents) else pipeline
    if described:
        # Without the target's `set`: targets.toml may lie in a bucket, while the configuration is reviewed with the code.
        settings = load_job(described).settings
        return allowed_parameters(event, settings.events.parameters, str(described)), event.key(settings.name)
    specification = documents[0].get("pipelineSpec", documents[0])
    return allowed_parameters(event, [], ""), event.key(str(specification["pipelineInfo"]["name"]))


def run_name(name: str | None, default: str) -> str:
    """Return a run's name: the one given, or the default.

    Raises:
        ConfigurationError: It is empty or longer than 60 characters.
    """
    title = default if name is None else name
    if not 1 <= len(title) <= _NAME_LENGTH:
        raise ConfigurationError(f"--name {title[:40]!r}… has {len(title)} characters; a run's name has 1 to {_NAME_LENGTH}")
    return title


def profile_settings(changed: dict[str, Any]) -> list[str]:
    """Return a target's `set` as `section.key=value` texts.

    Raises:
        ConfigurationError: It sets `pipeline`: targets.toml may be in a bucket, but code must be named by files that are reviewed with it.
    """
    if "pipeline" in changed:
        raise ConfigurationError("targets.toml: `set` cannot change `pipeline`, which names code; write it in the configuration")
    return [f"{key}={yaml.safe_dump(value, default_flow_style=True).removesuffix('...' + chr(10)).strip()}" for key, value in changed.items()]


def compile_for(
    name: str, job: Job, *, destination: Destination | None = None, digests: dict[str, str] | None = None
) -> tuple[Specification, dict[str, Any]]:
    """Compile a pipeline for a platform.

    Args:
        name: A platform.
        job: The pipeline and its configuration.
        destination: Whose registry, shapes and task options are compiled in. Default: none.
        digests: Image name to digest; images without one go by tag.

    Returns:
        The specification, and the platform's own document: empty where there is none.
    """
    target = _target(name, destination, digests)
    specification = target.compile(job)
    return specification, target.platform_document(specification)


def compile_component_for(
    name: str, component: str, *, destination: Destination | None = None, digests: dict[str, str] | None = None
) -> tuple[Specification, dict[str, Any]]:
    """Compile a single component for a platform; see `compile_for`."""
    target = _target(name, destination, digests)
    specification = target.compile_component(component)
    return specification, target.platform_document(specification)


def _target(name: str, destination: Destination | None, digests: dict[str, str] | None) -> ClusterTarget:
    target = ClusterTarget(name, digests=digests or {})
    if destination is None:
        return target
    return replace(target, image_repository=destination.settings.image_repository, settings=destination.settings, shapes=destination.targets.shapes)


def _arguments(job: Job, destination: Destination, given: Collection[str], *, stage: bool) -> dict[str, Any]:
    """Return the configuration's arguments without those given; files of this machine are uploaded below the artifact root where `stage` says so."""
    staging = Staging(destination.settings.root, destination.settings.root_endpoint)
    folder = staging.stage if stage else (lambda path: "")
    source = staging.stage if stage else (lambda path, pattern: "")
    return job.arguments(destination.name, Place(job.base, folder, source, _refuse_home), without=frozenset(given))


def _refuse_home(key: str) -> str:
    raise ConfigurationError(
        f"{key} is a file of this machine, which no task elsewhere can reach: name a server, in the configuration or under `set` of the target in "
        "targets.toml"
    )
