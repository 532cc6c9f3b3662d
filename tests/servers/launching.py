"""Google's launcher of CustomJobs in processes of its own, forked from one that has imported it: an import takes five seconds.

Nothing of the launcher is replaced but the seconds between two looks at the job, 20 there.
"""

import multiprocessing
import os
from multiprocessing.process import BaseProcess
from pathlib import Path

MODULE = "google_cloud_pipeline_components.container.v1.custom_job.launcher"
_SECONDS = 0.2


def start(command: list[str], variables: dict[str, str], log: Path) -> BaseProcess:
    """Start the launcher.

    Args:
        command: As compiled: Python, the module, its arguments.
        variables: Its environment variables.
        log: The file of all that it prints.
    """
    if command[:4] != ["python3", "-u", "-m", MODULE]:
        raise ValueError(f"{command[:4]} is not Google's launcher of CustomJobs")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([MODULE, "tests.servers.launching"])
    process = context.Process(target=_launch, args=(command[4:], variables, str(log)))
    process.start()
    return process


def _launch(arguments: list[str], variables: dict[str, str], log: str) -> None:
    os.environ.update(variables)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from google_cloud_pipeline_components.container.v1.custom_job import launcher
    from google_cloud_pipeline_components.container.v1.gcp_launcher import job_remote_runner

    job_remote_runner._POLLING_INTERVAL_IN_SECONDS = _SECONDS
    launcher.main(arguments)
