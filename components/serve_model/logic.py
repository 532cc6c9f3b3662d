"""Serve a model on this machine, and replace what served before only by what answers right."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from intermodal.components.serve_model.arguments import check_arguments
from intermodal.rollout.engine import Rollout
from intermodal.rollout.judging.limits import Settings, judge_settings
from intermodal.rollout.judging.look import judge
from intermodal.rollout.log import Log
from intermodal.rollout.plan import Plan
from intermodal.rollout.state import State
from intermodal.rollout.verdict import Verdict
from intermodal.runtime.errors import DataError, DeploymentError
from intermodal.runtime.tree import file_hash, tree_hash
from intermodal.serving.directory import copy_model
from intermodal.serving.endpoint import open_inference, version_of, write_deployment
from intermodal.serving.json_http import ask
from intermodal.serving.records import Deployment, deployment, end_members, end_process, forget, locked, start_time
from intermodal.serving.server import HOST, Candidate, finish_replacement, public_socket
from intermodal.serving.smoke_test import Exchange, SmokeTest
from intermodal.serving.splitting.counts import judged_counts
from intermodal.serving.splitting.service import CandidateModel, LocalService

_LOGS_KEPT: Final = 5


def serve_model(
    *,
    model_path: str,
    name: str,
    evaluation_path: str | None,
    registration_path: str | None,
    port: int,
    timeout: float,
    tolerance: float,
    deployments: str,
    version: str,
    strategy: str,
    weights: Sequence[int],
    header: str,
    bake: float,
    deadline: float,
    keep_previous: bool,
    minimum_requests: int,
    warm_up: float,
    tolerated: Mapping[str, float],
    harm: Mapping[str, float],
    false_alarm: float,
    missed: float,
    deployment_path: str,
) -> dict[str, Any]:
    """Start a server for a model, test it on a private port, and bring it to all requests, at once or by steps.

    At once, the new server listens on the same public socket as the old one before that one is ended; by steps, a splitter does, in front of both.
    Either way no connection is lost. A model that is served already, and answers right, is left to serve. See the contract for the arguments.

    Returns:
        The metadata of the deployment: `url`, `name`, `version`, `tested`.

    Raises:
        ConfigurationError: An argument is wrong, or something else has the port.
        DataError: An input cannot be read.
        DeploymentError: The new server does not start, answers wrong or is worse; what served before still does. Or a rollout is under way.
    """
    rollout: dict[str, Any] = {
        "strategy": strategy,
        "weights": weights,
        "header": header,
        "bake": bake,
        "deadline": deadline,
        "keep_previous": keep_previous,
    }
    judged: dict[str, Any] = {"tolerated": tolerated, "harm": harm, "false_alarm": false_alarm, "missed": missed}
    judged |= {"minimum_requests": minimum_requests, "warm_up": warm_up}
    check_arguments(name=name, port=port, timeout=timeout, tolerance=tolerance, deployments=deployments, **rollout, **judged)
    smoke_test = SmokeTest.read(model_path, evaluation_path, tolerance)
    home = Path(deployments).expanduser().resolve()
    version = version_of(registration_path, version)
    service = Service(home, name, Path(model_path), version, smoke_test, int(port), timeout)
    state = None
    if strategy == "direct":
        with locked(home, name):
            before = finish_replacement(home, name)
            kept = service.keep(before) if before else None
            serves, exchange = kept or service.start(before)
    else:
        plan = Plan.of(strategy=strategy, weights=weights, bake=bake, deadline=deadline, header=header, keep=keep_previous)
        settings = judge_settings(**judged, bake=bake, steps=max(len(plan.steps), 1))
        serves, exchange, state = service.roll_out(plan, settings)
    return write_deployment(
        deployment_path,
        name=serves.name,
        url=serves.url,
        version=serves.version,
        protocols=open_inference(serves.url, serves.name),
        exchange=exchange,
        state=state,
    )


class Service:
    """A model to be served under a name."""

    def __init__(self, home: Path, name: str, model: Path, version: str, smoke_test: SmokeTest, port: int, timeout: float) -> None:
        """Take what is to be served; nothing is started yet.

        Raises:
            DataError: The model cannot be read.
        """
        self.home, self.name, self._model, self._version, self._smoke_test = home, name, model, version, smoke_test
        self._port, self._timeout = port, timeout
        if not model.exists():
            raise DataError(f"{model}: no such model; was the task that writes it run?")
        self._digest = file_hash(model).hex() if model.is_file() else tree_hash(model)
        self._url = f"http://{HOST}:{self._port}"

    def keep(self, before: Deployment) -> tuple[Deployment, Exchange] | None:
        """Return the server that runs and its answer, if it serves this very model and answers right; else None."""
        if not before.alive or before.model_sha256 != self._digest or before.port != self._port:
            return None
        try:
            exchange = self._test(before.url)
        except DeploymentError:
            return None
        serves = replace(before, version=self._version)
        serves.save(self.home)
        return serves, exchange

    def start(self, before: Deployment | None) -> tuple[Deployment, Exchange]:
        """Start a server, let it take over from the one `before`, and return it with its answer."""
        folder = self.home / self.name
        now = datetime.now(UTC)
        label = f"{now:%Y%m%dT%H%M%S%f}"
        copy = copy_model(self._model, folder / "models" / self._digest[:16])
        old = before if before and before.alive else None
        control = folder / f"control-{label}"
        with public_socket(self._port, folder / old.control if old and old.port == self._port else None) as public:
            candidate = Candidate(name=self.name, model=copy, public=public, control=control, log=folder / f"{label}.log")
        started = start_time(candidate.pid) or 0
        try:
            candidate.wait_until_ready(self._timeout)
            self._test(candidate.url)
            serves = Deployment(
                name=self.name,
                url=self._url,
                version=self._version,
                pid=candidate.pid,
                started=started,
                port=self._port,
                model_sha256=self._digest,
                log=str(candidate.log),
                since=now.isoformat(timespec="seconds"),
                control=control.name,
                predecessor=asdict(old) if old else None,
            )
            # Before it takes over: if this task is killed, the next one finds both servers on record.
            serves.save(self.home)
            candidate.serve()
        except BaseException:
            end_process(candidate.pid, started, patience=3)
            control.unlink(missing_ok=True)
            before.save(self.home) if before else forget(self.home, self.name)
            raise
        if old:
            end_process(old.pid, old.started)
        end_members(self.home, self.name)
        serves = replace(serves, predecessor=None)
        serves.save(self.home)
        _tidy(folder, copy, control)
        return serves, self._test(self._url)

    def roll_out(self, plan: Plan, settings: Settings) -> tuple[Deployment, Exchange, State]:
        """Bring the model to all requests by steps; return the deployment, an answer, and what happened.

        Raises:
            DeploymentError: It does not start, answers wrong or is worse (RolledBack), or another task changes the service.
        """
        candidate = CandidateModel(self._model, self._digest, self._version, self._timeout)
        service = LocalService(self.home, self.name, self._port, candidate)
        rollout = Rollout(
            service,
            candidate.member,
            plan,
            test=lambda member: self._smoke_test.run(self.name, service.ask(member)),
            judge=lambda state: self._judged(service, state, settings),
            watch=Log().watch,
        )
        state = rollout.run()
        serves = deployment(self.home, self.name)
        assert serves
        return serves, self._test(self._url), state

    def _judged(self, service: LocalService, state: State, settings: Settings) -> Verdict:
        """Judge the candidate by what the splitter counted since the step began, and before where the stable model gets nothing meanwhile."""
        copies = state.current.mirror > 0
        begins = state.since - (settings.bake if not state.weights.get(state.stable) else 0)
        slices = service.slices(begins)
        parts = ([each for each in slices if each["start"] >= state.since], [each for each in slices if each["end"] <= state.since])
        step, before = (judged_counts(part, state.stable, state.candidate, copies=copies) for part in parts)
        return judge(step, settings, before=before if len(before) else None)

    def _test(self, url: str) -> Exchange:
        return self._smoke_test.run(self.name, lambda path, body: ask(f"{url}/{path}", body))


def _tidy(folder: Path, copy: Path, control: Path) -> None:
    """Remove the models and sockets of ended servers, and all but the latest logs."""
    for model in (folder / "models").iterdir():
        if model != copy:
            shutil.rmtree(model, ignore_errors=True)
    for other in folder.glob("control-*"):
        if other != control:
            other.unlink(missing_ok=True)
    for log in sorted(folder.glob("*.log"))[:-_LOGS_KEPT]:
        for each in folder.glob(f"{log.name}*"):
            each.unlink(missing_ok=True)
