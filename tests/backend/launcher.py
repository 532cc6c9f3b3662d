"""What Kubeflow Pipelines' backend does with a compiled pipeline, on this machine: the driver, and the launcher around each task.

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
from intermodal.compiler.conditions import holds
from intermodal.runner.environments import environment
from tests.backend.cache import Cache, cache_key

ROOT = Path(__file__).resolve().parents[2]
USER, GROUP = 23456, 0
_CODE = "/opt/intermodal/src"


class TaskFailedError(Exception):
    """A task ended with another status than 0; the message is its log."""


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
        left_out: Components that are not run: executor label to why.
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
    left_out: dict[str, str] = field(default_factory=dict)
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
        declared = self.specification["root"].get("inputDefinitions", {}).get("parameters", {})
        defaults = {name: each["defaultValue"] for name, each in declared.items() if "defaultValue" in each}
        self._graph(self.specification["root"]["dag"], defaults | parameters, {})

    # The driver.

    def _graph(self, graph: dict[str, Any], parameters: dict[str, Any], artifacts: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Run a graph's tasks, each after those it needs; return the outputs of each."""
        outputs: dict[str, dict[str, Any]] = {}
        waiting = dict(graph["tasks"])
        skipped: set[str] = set()
        while waiting:
            name = next(name for name, task in waiting.items() if _needs(task) <= set(outputs) | skipped)
            task = waiting.pop(name)
            if _needs(task) & skipped:
                skipped.add(name)
                continue
            given, handed = self._inputs(task, parameters, artifacts, outputs)
            if not holds(task.get("triggerPolicy", {}).get("condition", ""), given.__getitem__):
                skipped.add(name)
                continue
            component = self.specification["components"][task["componentRef"]["name"]]
            if "dag" in component:
                outputs[name] = self._nested(component["dag"], given, handed)
            elif component["executorLabel"] in self.left_out:
                skipped.add(name)
            else:
                outputs[name] = self.done[name] = self._task(name, task, component, given, handed)
        return outputs

    def _nested(self, graph: dict[str, Any], given: dict[str, Any], handed: dict[str, Any]) -> dict[str, Any]:
        inner = self._graph(graph, given, handed)
        made = {}
        for key, output in graph.get("outputs", {}).get("artifacts", {}).items():
            chosen = [
                inner[each["producerSubtask"]][each["outputArtifactKey"]] for each in output["artifactSelectors"] if each["producerSubtask"] in inner
            ]
            made |= {key: chosen[0]} if chosen else {}
        return made

    def _inputs(
        self, task: dict[str, Any], parameters: dict[str, Any], artifacts: dict[str, Any], outputs: dict[str, dict[str, Any]]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        component = self.specification["components"][task["componentRef"]["name"]]
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        given = {name: each["defaultValue"] for name, each in declared.items() if "defaultValue" in each}
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            if "componentInputParameter" in source:
                given[name] = parameters[source["componentInputParameter"]]
            elif "taskOutputParameter" in source:
                found = source["taskOutputParameter"]
                given[name] = outputs[found["producerTask"]][found["outputParameterKey"]]
            else:
                given[name] = _constant(source["runtimeValue"]["constant"])
        handed = {}
        for name, source in task.get("inputs", {}).get("artifacts", {}).items():
            if "componentInputArtifact" in source:
                found = artifacts.get(source["componentInputArtifact"])
            else:
                found = outputs[source["taskOutputArtifact"]["producerTask"]][source["taskOutputArtifact"]["outputArtifactKey"]]
            if found is not None:
                handed[name] = found
        return given, handed

    def _task(self, name: str, task: dict[str, Any], component: dict[str, Any], given: dict[str, Any], handed: dict[str, Any]) -> dict[str, Any]:
        executor = self.specification["deploymentSpec"]["executors"][component["executorLabel"]]
        if "importer" in executor:
            uri = executor["importer"]["artifactUri"]
            source = given[uri["runtimeParameter"]] if "runtimeParameter" in uri else uri["constant"]
            wanted = re.fullmatch(r"\{\{\$\.inputs\.parameters\['(\w+)'\]\}\}", str(source))
            return {"artifact": self.cache.imports(executor["importer"], given[wanted[1]] if wanted else source)}
        allowed = task.get("cachingOptions", {}).get("enableCache", False)
        key = cache_key(component, executor["container"], given, handed)
        if allowed and key in self.cache.entries:
            self.cached.add(name)
            return self.cache.entries[key]
        outputs = self._container(name, component, executor["container"], given, handed)
        outputs |= {output: self.cache.number(outputs[output]) for output in component.get("outputDefinitions", {}).get("artifacts", {})}
        if allowed:
            self.cache.entries[key] = outputs
        return outputs

    # The launcher.

    def _container(
        self, name: str, component: dict[str, Any], container: dict[str, Any], given: dict[str, Any], handed: dict[str, Any]
    ) -> dict[str, Any]:
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
        words = [word.replace("{{$}}", json.dumps(executor_input)) for word in [*container.get("command", []), *container.get("args", [])]]
        assert not any("{{$" in word for word in words), "a placeholder that this launcher does not know"
        done = subprocess.run(
            [*self._walls(image_of(container["image"]), place, self._variables(component["executorLabel"])), *words],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.logs[name] = done.stdout + done.stderr
        if done.returncode:
            raise TaskFailedError(f"{name}: status {done.returncode}\n{self.logs[name][-6000:]}")
        written = json.loads((place / "tmp/kfp_outputs/output_metadata.json").read_text())
        outputs: dict[str, Any] = dict(written.get("parameterValues", {}))
        for key, each in made.items():
            told = written.get("artifacts", {}).get(key, {}).get("artifacts", [{}])[0]
            outputs[key] = each | {"uri": told.get("uri", each["uri"]), "metadata": told.get("metadata", {})}
            self._send(outputs[key]["uri"], place / "s3")
        assert set(outputs) == set(made) | set(defined.get("parameters", {})), f"{name} must write every output it declares"
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


def _needs(task: dict[str, Any]) -> set[str]:
    producers = {
        each[kind]["producerTask"]
        for group in ("parameters", "artifacts")
        for each in task.get("inputs", {}).get(group, {}).values()
        for kind in ("taskOutputParameter", "taskOutputArtifact")
        if kind in each
    }
    return producers | set(task.get("dependentTasks", []))


def _constant(value: Any) -> Any:
    places = {"{{$.pipeline_job_name}}": "training-backend", "{{$.pipeline_job_uuid}}": "00000000-0000-0000-0000-000000000001"}
    return places.get(value, value) if isinstance(value, str) else value
