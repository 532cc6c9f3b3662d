"""A service of this machine as a rollout sees it: a splitter in front of the models that are loaded for it."""

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from intermodal.rollout.service import Wish
from intermodal.rollout.state import State
from intermodal.runtime.artifacts import write_json
from intermodal.runtime.errors import DeploymentError, StoreError
from intermodal.serving.directory import copy_model
from intermodal.serving.json_http import ask
from intermodal.serving.records import ROLLOUT, Deployment, deployment, end_process, start_time
from intermodal.serving.server import HOST, finish_replacement, last_lines, public_socket, start_server, took_over
from intermodal.serving.splitting.members import member, members, start_member, stop_member

_WISH, _LOCK = "wish.json", "lock"
#: How long the slices last in which requests are counted: long enough that what slows one second does not slow the next slice too.
SLICE_SECONDS = 5.0
_HANDOVER_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.03


@dataclass(frozen=True)
class CandidateModel:
    """A model that is to be loaded.

    Attributes:
        model: Its directory or file.
        model_sha256: Its hash.
        version: The registered version; empty where there is none.
        timeout: Seconds until it must be ready.
    """

    model: Path
    model_sha256: str
    version: str
    timeout: float

    @property
    def member(self) -> str:
        """Its name among the service's members."""
        return self.model_sha256[:16]


class LocalService:
    """See `rollout.service.Service`. Members are named by the first 16 digits of their model's SHA-256.

    A service that was deployed at once, with a predictor on its port, gets a splitter in front with the first state that needs one; its model is
    loaded once more, behind that, and the predictor ended when its requests are answered.
    """

    def __init__(self, home: Path, name: str, port: int = 0, candidate: CandidateModel | None = None) -> None:
        """Take where the service is.

        Args:
            home: The folder of the records.
            name: The service.
            port: The port that clients use; 0: that of the record.
            candidate: What `start` may load.
        """
        self.name = name
        self._home, self._folder, self._port, self._candidate = home, home / name, port, candidate

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the service, and finish a replacement that was cut short; see `Service.lock`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / _LOCK).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeploymentError(f"{self.name} is being changed by another task; wait for it, or end it, then run this again") from None
            finish_replacement(self._home, self.name)
            yield

    def label(self, name: str) -> str:
        """Return a model's version in words, or the member's name where it has none."""
        given = self._candidate
        version = given.version if given and given.member == name else self.versions().get(name)
        return f"version {version}" if version else name

    def now(self) -> float:
        """Return the time of this machine."""
        return time.time()

    def state(self) -> State:
        """Return the state; see `Service.state`."""
        path = self._folder / ROLLOUT
        try:
            return State.read(json.dumps(json.loads(path.read_text(encoding="utf-8"))["state"]), str(path))
        except FileNotFoundError:
            found = deployment(self._home, self.name)
            return State(stable=found.model_sha256[:16]) if found and found.alive else State()
        except (ValueError, KeyError) as error:
            raise StoreError(f"{path}: not the state of a rollout ({error!r}); remove it to start from what serves now") from error

    def apply(self, state: State) -> None:
        """Write a state and split the requests so; see `Service.apply`."""
        record = deployment(self._home, self.name)
        # A predictor that has all requests by itself keeps them until another model gets some.
        split = state.phase in ("step", "promoted") or bool(record and record.splits)
        if split and state.stable:
            self._loaded(state.stable)
        ports = {each.name: each.port for each in members(self._folder)}
        routes = {
            "stable": state.stable,
            "ports": ports,
            "weights": state.weights,
            "mirror": {state.candidate: state.current.mirror} if state.current.mirror else {},
            "header": [*state.current.header, state.candidate] if state.current.header else [],
        }
        revision = f"{time.time_ns():x}"
        write_json(self._folder / ROLLOUT, {"state": json.loads(state.written()), "routes": routes | {"revision": revision}})
        if split:
            self._in_front(state)
            self._wait_for(revision)

    def start(self, name: str) -> None:
        """Load the candidate; see `Service.start`."""
        given = self._candidate
        if given is None or given.member != name:
            found = member(self._folder, name)
            if found and found.alive:
                return
            raise DeploymentError(f"{self.name}: the model {name} is not loaded any more; deploy its version again")
        copy = copy_model(given.model, self._folder / "models" / name)
        start_member(self._folder, name, service=self.name, model=copy, version=given.version, model_sha256=given.model_sha256, timeout=given.timeout)

    def ask(self, name: str) -> Callable[[str, Any], Any]:
        """Return what asks a member on its own port."""
        found = member(self._folder, name)
        if found is None:
            raise DeploymentError(f"{self.name}: the model {name} is not loaded")
        return lambda path, body: ask(f"{found.url}/{path}", body)

    def retire(self, name: str) -> None:
        """End a member and remove its copy of the model."""
        stop_member(self._folder, name)
        shutil.rmtree(self._folder / "models" / name, ignore_errors=True)

    def wish(self) -> Wish | None:
        """Return the last wish."""
        with contextlib.suppress(FileNotFoundError):
            return Wish(**json.loads((self._folder / _WISH).read_text(encoding="utf-8")))
        return None

    def make_wish(self, wish: Wish | None) -> None:
        """Write down a wish, or drop it."""
        if wish is None:
            (self._folder / _WISH).unlink(missing_ok=True)
        else:
            write_json(self._folder / _WISH, asdict(wish))

    def versions(self) -> dict[str, str]:
        """Return the registered version of each model that is loaded."""
        record = deployment(self._home, self.name)
        return ({record.model_sha256[:16]: record.version} if record else {}) | {each.name: each.version for each in members(self._folder)}

    def slices(self, since: float) -> list[dict[str, Any]]:
        """Return what the splitter counted in whole slices of time that began at `since` or later.

        Raises:
            StoreError: It does not answer.
        """
        record = deployment(self._home, self.name)
        try:
            found = ask(f"{record.url}/-/slices?since={since}", seconds=5) if record else None
        except DeploymentError as error:
            raise StoreError(str(error)) from error
        return [each for each in found["slices"] if each["end"] <= found["now"]] if found else []

    def _loaded(self, name: str) -> None:
        """Load what serves once more, behind the splitter, where it is a deployment's own process yet."""
        found = member(self._folder, name)
        if found and found.alive:
            return
        served = found or deployment(self._home, self.name)
        assert served
        start_member(
            self._folder,
            name,
            service=self.name,
            model=self._folder / "models" / name,
            version=served.version,
            model_sha256=served.model_sha256,
            timeout=self._candidate.timeout if self._candidate else 60.0,
        )

    def _in_front(self, state: State) -> None:
        """Have a splitter accept the service's requests, and keep the record of the deployment."""
        record = deployment(self._home, self.name)
        served = member(self._folder, state.stable)
        version, digest = (served.version, served.model_sha256) if served else ("", "")
        if record and record.alive and record.splits:
            if (record.version, record.model_sha256) != (version, digest):
                replace(record, version=version, model_sha256=digest).save(self._home)
            return
        old = record if record and record.alive else None
        port = self._port or (record.port if record else 0)
        now = datetime.now(UTC)
        control, log = self._folder / f"control-{now:%Y%m%dT%H%M%S%f}", self._folder / "splitter.log"
        with public_socket(port, self._folder / old.control if old and old.port == port else None) as public:
            arguments = ["--routes", str(self._folder / ROLLOUT), "--control", str(control), "--slice_seconds", str(SLICE_SECONDS)]
            process = start_server("intermodal.serving.splitting.proxy", arguments, {"public": public}, log)
        made = Deployment(
            name=self.name,
            url=f"http://{HOST}:{port}",
            version=version,
            pid=process.pid,
            started=start_time(process.pid) or 0,
            port=port,
            model_sha256=digest,
            log=str(log),
            since=now.isoformat(timespec="seconds"),
            control=control.name,
            predecessor=asdict(old) if old else None,
            splits=True,
        )
        made.save(self._home)
        if not took_over(process, control):
            end_process(made.pid, made.started, patience=3)
            old.save(self._home) if old else None
            raise DeploymentError(f"the splitter of {self.name} does not take over the port; see {last_lines(log)}")
        if old:
            end_process(old.pid, old.started)
        replace(made, predecessor=None).save(self._home)

    def _wait_for(self, revision: str) -> None:
        record = deployment(self._home, self.name)
        assert record
        deadline = time.monotonic() + _HANDOVER_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(DeploymentError):
                if ask(f"{record.url}/-/split", seconds=2)["revision"] == revision:
                    return
            time.sleep(_POLL_SECONDS)
        raise StoreError(f"{self.name}: the splitter does not take the new split; see {last_lines(Path(record.log))}")
