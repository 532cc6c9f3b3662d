"""A run of a pipeline on this machine, and what a person wants to know at its end."""

from pathlib import Path

from rich.console import Console

from intermodal.authoring.pipeline import load_job
from intermodal.configuration.sections import Place


def run_configuration(
    configuration: Path,
    overrides: list[str] | None,
    *,
    home: Path,
    docker: bool,
    cache: bool,
    console: Console,
    name: str = "",
    identity: str = "",
    parallelism: int | None = None,
) -> None:
    """Run the pipeline that a configuration names, and print its summary.

    Args:
        configuration: The configuration file.
        overrides: `section.key=value` texts over it.
        home: Folder for runs, cache, stores and deployments.
        docker: Whether each task runs in a container of its image.
        cache: Whether what earlier runs finished on equal inputs is reused.
        console: Where it is shown.
        name: The run's name, for people. Default: the configuration's.
        identity: The run's id. Default: the configuration's name and the time.
        parallelism: How many tasks run at the same time. Default: as many as there are cores.

    Raises:
        IntermodalError: What stopped the run; see `LocalTarget.run`.
    """
    from intermodal.components.serve_model.component import serve_model
    from intermodal.runner.local import LocalTarget

    job = load_job(configuration, overrides)
    home = home.resolve()
    target = LocalTarget(home, docker=docker, console=console, parallelism=parallelism)
    place = Place(job.base, folder=target.stage, source=lambda path, pattern: str(path / pattern), home=lambda key: str(home))
    finished = target.run(job.wire("local", serve_model), job.arguments("local", place), cached=cache, name=name, identity=identity)
    if job.pipeline.summary is None:
        console.print(f"Done     {finished.directory}", soft_wrap=True, markup=False)
        return
    console.print()
    for line in job.pipeline.summary(finished):
        console.print(line, soft_wrap=True)
