"""What Kubeflow Pipelines' backend does with the tasks of a compiled pipeline, on this machine; which runs when is the engine's (runner/engine.py).

Each task gets a root filesystem of its own that holds the system's libraries, its image's environment and our package, all read-only, and only /tmp
and its artifacts' folder to write to; it runs as a user that the system does not know, with the variables of the Dockerfile and of its secrets and no
others. Inputs are fetched from an S3 server to where the launcher puts them (s3://bucket/key at /s3/bucket/key), outputs are sent back from there.
Written after kubeflow/pipelines' backend/src/v2/driver and component/launcher_v2.go.
"""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intermodal.authoring.images import image_of
from intermodal.execution.environments import environment
from intermodal.runner.engine import Engine, Instance
from intermodal.runner.inputs import Artifact, Values
from intermodal.runner.placeholders import command_line, imported, resolved
from intermodal.runtime.errors import TaskError
from tests.backend.cache import Cache, cache_key

ROOT = Path(__file__).resolve().parents[2]
USER, GROUP = 23456, 0
_CODE = "/opt/intermodal/src"


PLACEHOLDERS = {"pipeline_job_name": "training-backend", "pipeline_job_uuid": "00000000-0000-0000-0000-000000000001"}


@dataclass
class Backend:
    """One run.

    Attributes:
        specification: The compiled pipeline.
        platform: Its second document; empty: none.
        store: A client of the S3 server (boto3).
        root: The pipeline root: ``s3://bucket/prefix``.
        folder: Scratch.
        secrets: Secret name to key to value, as the cluster would have them.
        cache: Shared by the runs that may answer each other.
        done: Task name to outputs, in the order they ended.
        cached: Those of them that an earlier run answered.
        parameters: What the run was given.
        logs: Task name to what it printed.
    """

    specification: dict[str, Any]
    platform: dict[str, Any]
    store: Any
    root: str
    folder: Path
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    cache: Cache = field(default_factory=Cache)
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def ran(self) -> set[str]:
        """The tasks whose container ran."""
        return set(self.done) - self.cached - {name for name in self.done if name.startswith("importer")}

    logs: dict[str, str] = field(default_factory=dict)

    def run(self, parameters: dict[str, Any]) -> None:
        """Run the pipeline to its end."""
        self.parameters = parameters
        outcome = Engine(self.specification, Values(parameters), self._task).run()
        if outcome.failures:
            raise outcome.failures[0][1]

    # The driver: the engine decides what runs, on what; here is what the backend does with a task of it.

    def _task(self, instance: Instance) -> Values:
        given = resolved(instance.inputs.parameters, PLACEHOLDERS)
        handed = {name: each for name, each in instance.inputs.artifacts.items() if isinstance(each, dict)}
        if "importer" in instance.executor:
            made = imported(instance.executor["importer"], Values(given), PLACEHOLDERS)
            outputs = Values(artifacts={"artifact": self.cache.imports(instance.executor["importer"], made["uri"])})
        else:
            outputs = self._cached(instance, given, handed)
        self.done[instance.name] = {**outputs.parameters, **outputs.artifacts}
        return outputs

    def _cached(self, instance: Instance, given: dict[str, Any], handed: dict[str, Artifact]) -> Values:
        allowed = instance.task.get("cachingOptions", {}).get("enableCache", False)
        key = cache_key(instance.component, instance.executor["container"], given, handed)
        if allowed and key in self.cache.entries:
            self.cached.add(instance.name)
            return self.cache.entries[key]
        outputs = self._container(instance.name, instance.component, instance.executor["container"], given, handed)
        outputs.artifacts |= {name: self.cache.number(each) for name, each in outputs.artifacts.items()}
        if allowed:
            self.cache.entries[key] = outputs
        return outputs

    # The launcher.

    def _container(
        self, name: str, component: dict[str, Any], container: dict[str, Any], given: dict[str, Any], handed: dict[str, Artifact]
    ) -> Values:
        place = self.folder / name
        for each in ("tmp", "s3"):
            (place / each).mkdir(parents=True)
        defined = component.get("outputDefinitions", {})
        made = {key: self._output(name, key, each) for key, each in defined.get("artifacts", {}).items()}
        executor_input = {
            "inputs": {"parameterValues": given, "artifacts": {key: {"artifacts": [each]} for key, each in handed.items()}},
            "outputs": {
                "parameters": {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in defined.get("parameters", {})},
                "artifacts": {key: {"artifacts": [each]} for key, each in made.items()},
                "outputFile": "/tmp/kfp_outputs/output_metadata.json",
            },
        }
        for each in handed.values():
            self._fetch(each["uri"], place / "s3")
        for each in made.values():
            (place / "s3" / each["uri"].removeprefix("s3://")).parent.mkdir(parents=True, exist_ok=True)
        for path in [place, *place.rglob("*")]:
            shutil.chown(path, USER, GROUP)
        words = command_line([*container.get("command", []), *container.get("args", [])], executor_input, PLACEHOLDERS)
        assert not any("{{$" in word for word in words), "a placeholder that nobody knows"
        done = subprocess.run(
            [*self._walls(image_of(container["image"]), place, self._variables(component["executorLabel"])), *words],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.logs[name] = done.stdout + done.stderr
        if done.returncode:
            raise TaskError(name, f"status {done.returncode}\n{self.logs[name][-6000:]}", "", done.returncode)
        written = json.loads((place / "tmp/kfp_outputs/output_metadata.json").read_text())
        outputs = Values(written.get("parameterValues", {}))
        for key, each in made.items():
            said = written.get("artifacts", {}).get(key, {}).get("artifacts", [{}])[0]
            outputs.artifacts[key] = each | {"uri": said.get("uri", each["uri"]), "metadata": said.get("metadata", {})}
            self._send(outputs.artifacts[key]["uri"], place / "s3")
        assert set(outputs.parameters) == set(defined.get("parameters", {})), f"{name} must write every output it declares"
        return outputs

    def _output(self, task: str, key: str, definition: dict[str, Any]) -> dict[str, Any]:
        return {"name": key, "uri": f"{self.root}/{task}/{key}", "type": definition["artifactType"], "metadata": {}}

    def _variables(self, label: str) -> dict[str, str]:
        """Return the environment: the Dockerfile's, and what the platform document takes from secrets."""
        text = (ROOT / "Dockerfile").read_text().rpartition("\nENV ")[2].partition("\nHEALTHCHECK")[0].replace("\\\n", " ")
        variables = dict(re.findall(r"(\w+)=(\S+)", text))
        options = self.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {}).get(label, {})
        for secret in options.get("secretAsEnv", []):
            for each in secret["keyToEnv"]:
                variables[each["envVar"]] = self.secrets[secret["secretName"]][each["secretKey"]]
        return variables

    def _walls(self, image: str | None, place: Path, variables: dict[str, str]) -> list[str]:
        assert image, "a task of somebody else's image"
        python = environment(image)
        home = python.parent.parent
        interpreter = Path(sys.base_prefix).resolve()
        variables = variables | {"PATH": f"{python.parent}:/usr/bin:/bin", "PYTHONPATH": _CODE}
        binds = [("/usr", "/usr"), ("/etc", "/etc"), (str(home), str(home)), (str(self._code()), _CODE)]
        if not interpreter.is_relative_to("/usr"):
            binds.append((str(interpreter), str(interpreter)))
        parents = sorted({str(each) for _, target in binds for each in Path(target).parents} - {"/", "/usr", "/etc"})
        return [
            "bwrap",
            *("--tmpfs", "/", "--dev", "/dev", "--proc", "/proc", "--bind", str(place / "tmp"), "/tmp"),
            *(word for name in ("bin", "lib", "lib64", "sbin") for word in ("--symlink", f"usr/{name}", f"/{name}")),
            # bubblewrap makes a bind's parents for root alone.
            *(word for name in parents for word in ("--perms", "0755", "--dir", name)),
            *(word for source, target in binds for word in ("--ro-bind", source, target)),
            *("--bind", str(place / "s3"), "/s3", "--remount-ro", "/", "--chdir", "/tmp", "--clearenv", "--die-with-parent"),
            *(word for key, value in variables.items() for word in ("--setenv", key, value)),
            *("setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--no-new-privs"),
        ]

    def _code(self) -> Path:
        """Return a copy of our package as the Dockerfile makes it: links followed, nothing else of the checkout beside it."""
        made = self.folder / "code"
        if not made.exists():
            shutil.copytree(ROOT / "src" / "intermodal", made / "intermodal", ignore=shutil.ignore_patterns("__pycache__"))
            for path in [made, *made.rglob("*")]:
                path.chmod(0o755 if path.is_dir() else 0o644)
        return made

    def _fetch(self, uri: str, folder: Path) -> None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        found = self.store.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1000).get("Contents", [])
        names = [each["Key"] for each in found if each["Key"] == key or each["Key"].startswith(f"{key}/")]
        assert names, f"{uri} is not in the store"
        for name in names:
            path = folder / bucket / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self.store.download_file(bucket, name, str(path))

    def _send(self, uri: str, folder: Path) -> None:
        local = folder / uri.removeprefix("s3://")
        bucket = uri.removeprefix("s3://").partition("/")[0]
        for path in [local] if local.is_file() else sorted(each for each in local.rglob("*") if each.is_file()):
            self.store.upload_file(str(path), bucket, str(path.relative_to(folder / bucket)))
