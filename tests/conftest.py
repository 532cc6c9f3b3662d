"""What the whole suite shares: the rows of the fault matrix, and the seed of its random faults."""

import ast
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine is slow: what takes too long is for benchmarks to say.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

SEED = "INTERMODAL_FAULT_SEED"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(area, tried, promise): a row of the fault matrix (tests/fault_matrix.py writes its page)")


@pytest.fixture
def fault_random(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of a fault test: the same for the same seed and test. `make faults SEED=...` sets the seed."""
    seed = os.environ.get(SEED, "0")
    request.node.add_report_section("setup", "fault seed", f"{SEED}={seed}; `make faults SEED={seed}` repeats this")
    return random.Random(f"{seed} {request.node.nodeid}")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real S3 server. Its program is not in every image that runs tests, hence the import here."""
    from tests.servers.storage import s3_server

    with s3_server(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Cloud Storage server."""
    from tests.servers.storage import gcs_server

    with gcs_server(tmp_path_factory.mktemp("gcs")) as url:
        yield url


@dataclass(frozen=True)
class Bucket:
    """A mounted directory that behaves as gcsfuse does over a bucket without folders: no directory can be renamed (tests/bucket_mount.py)."""

    path: Path

    @property
    def changes(self) -> int:
        """How many changes of files and directories there were so far."""
        return int(os.getxattr(self.path, "user.changes"))

    def kill_at(self, change: int) -> None:
        """Kill by SIGKILL the process that is about to make the n-th change from now; 0: none."""
        os.setxattr(self.path, "user.kill_at", str(change).encode())


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket as gcsfuse mounts it: a real FUSE file system. Needs /dev/fuse, libfuse and the right to mount."""
    mfusepy = pytest.importorskip("mfusepy", reason="libfuse is missing: apt-get install fuse3", exc_type=OSError)
    if not os.access("/dev/fuse", os.W_OK):
        pytest.skip("there is no /dev/fuse here, or no right to use it")
    for name in ("backing", "bucket", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))  # where processes that are killed leave what they were filling
    program = Path(__file__).with_name("bucket_mount.py")
    variables = os.environ | {"PYTHONPATH": str(Path(mfusepy.__file__).parent)}
    place = Bucket(tmp_path / "bucket")
    with (tmp_path / "bucket.log").open("w") as log:
        server = subprocess.Popen([sys.executable, str(program), str(tmp_path / "backing"), str(place.path)], env=variables, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not place.path.is_mount():
            assert server.poll() is None, (tmp_path / "bucket.log").read_text()
            assert time.monotonic() < deadline, "the bucket was not mounted within half a minute"
            time.sleep(0.02)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place.path)], check=False)
        server.terminate()
        server.wait(10)


def leave(folder: Path, room: int) -> None:
    """Fill a disk but for some bytes."""
    status = os.statvfs(folder)
    (folder / "filling").write_bytes(bytes(status.f_bavail * status.f_frsize - room))


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make a folder the temporary directory."""

    def become(folder: Path) -> None:
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)

    return become


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    from tests.installed import build_wheel  # needs the authoring environment, which not every suite runs in

    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment with the wheel and the packages of the example data, without a checkout."""
    from tests.installed import install

    return install(wheel, tmp_path_factory.mktemp("installed") / "venv")


@pytest.fixture(scope="session")
def caches(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for the programs of `installed`, by which they find the images' environments of this checkout."""
    from tests.installed import with_environments

    return with_environments(installed, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Make small disks: `small_disk("name", mebibytes)` mounts a tmpfs and returns its folder; `room`: bytes free. Needs the right to mount."""
    made: list[Path] = []

    def make(name: str, mebibytes: int, room: int | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a disk of its own cannot be mounted here: {done.stderr.strip()}")
        made.append(folder)
        if room is not None:
            leave(folder, room)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def signature_defaults(component: str) -> dict[str, Any]:
    """Return a component's defaults, which stand in its signature alone, without importing kfp, which is not in every image."""
    tree = ast.parse((Path(__file__).parents[1] / "components" / component / "component.py").read_text())
    function = next(each for each in tree.body if isinstance(each, ast.FunctionDef))
    names = [each.arg for each in function.args.args][-len(function.args.defaults) :]
    return {name: ast.literal_eval(value) for name, value in zip(names, function.args.defaults, strict=True)}


@pytest.fixture(scope="session")
def defaults_of() -> Callable[[str], dict[str, Any]]:
    """How to get a component's defaults by name."""
    return signature_defaults
