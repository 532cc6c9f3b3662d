"""`cloudbuild.yaml`: parsed into Cloud Build's own proto, its substitutions, order and scripts held to account."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from google.cloud.devtools import cloudbuild_v1
from google.protobuf import json_format

from intermodal.authoring.images import IMAGES
from intermodal.submission.digests import read_digests
from tests.continuous_training.commands import check, commands_in

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "cloudbuild.yaml", ROOT / "cloudbuild.trigger.yaml"]
BUILT_IN = {"PROJECT_ID", "BUILD_ID", "COMMIT_SHA", "SHORT_SHA", "TAG_NAME", "REPO_FULL_NAME", "BRANCH_NAME", "LOCATION", "PROJECT_NUMBER"}
KINDS = ["pull-request", "main", "release"]


def build(path):
    return yaml.safe_load(path.read_text())


def script(name, path=FILES[0]):
    return next(step["script"] for step in build(path)["steps"] if step["id"] == name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_parses_into_cloud_builds_own_proto(path):
    parsed = json_format.ParseDict(build(path), cloudbuild_v1.Build.pb(cloudbuild_v1.Build()))
    assert len(parsed.steps) == len(build(path)["steps"])


def test_a_field_that_cloud_build_does_not_have_would_be_found():
    with pytest.raises(json_format.ParseError):
        json_format.ParseDict(build(FILES[0]) | {"waitfor": []}, cloudbuild_v1.Build.pb(cloudbuild_v1.Build()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_substitution_used_is_defined_and_every_one_defined_is_used(path):
    made = build(path)
    defined = set(made["substitutions"])
    assert all(name.startswith("_") for name in defined)
    text = re.sub(r"^\s*#.*$", "", path.read_text().split("\nsteps:")[1], flags=re.MULTILINE)
    used = set(re.findall(r"\$\{?([_A-Z][A-Z0-9_]*)", text + " ".join(made["substitutions"].values())))
    scripts = {name for step in made["steps"] for name in re.findall(r"^\s*(?:export )?([A-Z]+)=", step.get("script", ""), re.MULTILINE)}
    assert used - BUILT_IN - scripts <= defined
    assert defined <= used


def test_scripts_get_substitutions_as_variables_and_nothing_else_needs_escaping():
    made = build(FILES[0])
    assert made["options"]["automapSubstitutions"] is True
    for step in made["steps"]:
        assert "$$" not in json.dumps(step)
        assert ("script" in step) != ("args" in step)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_steps_have_names_wait_for_steps_that_are_there_and_never_for_each_other(path):
    steps = build(path)["steps"]
    names = [step["id"] for step in steps]
    assert len(names) == len(set(names))
    seen = set()
    for step in steps:
        assert step["waitFor"], "explicit, so that order is read and not guessed"
        assert set(step["waitFor"]) - {"-"} <= seen, "only for steps above: no cycle"
        seen.add(step["id"])


def after(name, waits):
    found = set(waits[name]) - {"-"}
    return found | {each for parent in found for each in after(parent, waits)}


def test_nothing_is_pushed_before_the_tests_and_the_scan_and_nothing_submitted_before_lint_and_signature():
    waits = {step["id"]: step["waitFor"] for step in build(FILES[0])["steps"]}
    assert {"test", "build", "scan"} <= after("push", waits)
    for last in ("vertex", "kubeflow"):
        assert {"push", "sign", "compile", "lint"} <= after(last, waits)


@pytest.mark.parametrize("path", [*FILES, *(ROOT / ".github" / "workflows").glob("*.yaml")], ids=lambda path: path.name)
def test_every_command_line_is_one_that_the_command_takes(path):
    found = [words for text in texts(build(path)) for words in commands_in(text)]
    for words in found:
        check(words)
    assert found or path.name == "ci.yaml"


def test_a_command_line_that_is_wrong_would_be_found():
    for words in (["submit", "a.yaml", "--target", "vertex", "--no-such"], ["sumbit", "a.yaml"], ["submit", "a.yaml"], ["schedule", "creat"]):
        with pytest.raises(Exception, match=r"(?i)no such (option|command)|missing (option|parameter)"):
            check(words)


def texts(value):
    if isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def ran(text, cwd=ROOT, **variables):
    return subprocess.run(
        ["bash", "-c", text], cwd=cwd, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_script_is_shell(path):
    for step in build(path)["steps"]:
        if "script" in step:
            assert step["script"].startswith("#!/usr/bin/env bash\nset -euo pipefail\n")
            assert subprocess.run(["bash", "-n"], input=step["script"], text=True, check=False).returncode == 0
    for program in (ROOT / "images").iterdir():
        first = program.read_text().split("\n", 1)[0]
        if "sh" in first:
            assert subprocess.run([first.split()[-1].rsplit("/", 1)[-1], "-n", str(program)], check=False).returncode == 0


@pytest.mark.parametrize("step", ["push", "keep", "kubeflow", "vertex", "publish"])
def test_a_pull_request_pushes_and_submits_nothing(step):
    done = ran(script(step), _KIND="pull-request", _KUBEFLOW="yes", SHORT_SHA="abc1234")
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.fault("Nobody in", "images/targets or images/tag fails inside a build step", "the step fails; it does not end well having done nothing")
@pytest.mark.parametrize(
    ("step", "variables"),
    [
        ("compile", {"_KUBEFLOW": "perhaps"}),
        ("lint", {"_KUBEFLOW": "perhaps"}),
        ("build", {"_KIND": "nightly"}),
        ("scan", {"_KIND": "nightly"}),
        ("push", {"_KIND": "nightly"}),
        ("kubeflow", {"_KIND": "release", "_KUBEFLOW": "yes", "TAG_NAME": ""}),
    ],
)
def test_a_step_whose_script_fails_fails(step, variables, tmp_path):
    """Run by the shell, beside real scripts in images/ and an `intermodal` that would take anything."""
    (tmp_path / "images").symlink_to(ROOT / "images")
    for name in (".venv/bin/intermodal", "bin/docker"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/calls"\n')
        (tmp_path / name).chmod(0o755)
    known = {
        "_CONFIGURATION": "pipelines/flights.yaml",
        "_PROFILE": "dev",
        "_REPOSITORY": "r.example/p",
        "_BASE": "",
        "COMMIT_SHA": "abc",
        "BUILD_ID": "1",
    }
    done = ran(script(step), cwd=tmp_path, **known | variables, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert done.returncode != 0
    assert done.stderr
    assert not (tmp_path / "calls").exists(), "nothing was done in the failing step"


def test_a_failing_substitution_is_never_lost_in_another_command():
    """`for x in $(f)`, `g "$(f)"` and `export X=$(f)` go on when f fails; an assignment by itself does not."""
    for path in [*FILES, *(ROOT / ".github" / "workflows").glob("*.yaml")]:
        for text in texts(build(path)):
            for line in text.splitlines():
                if "$(images/" in line:
                    assert re.fullmatch(r"\s*\w+=\$\(images/[^()]*\)", line), line


def test_main_does_not_keep_a_version_on_kubeflow_and_nothing_unpushed_is_signed(tmp_path):
    done = ran(script("kubeflow"), _KIND="main", _KUBEFLOW="yes")
    assert (done.returncode, "only a release" in done.stdout) == (0, True)
    signed = subprocess.run(["sh", str(ROOT / "images" / "sign")], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (signed.returncode, "nothing to sign" in signed.stdout) == (0, True)


@pytest.mark.parametrize(("kind", "tag"), [("release", "v1.2"), ("main", "abc1234-0f1e2d3c"), ("pull-request", "abc1234")])
def test_images_are_tagged_by_the_kind_of_build(kind, tag):
    assert ran('images/tag "$_KIND"', _KIND=kind, SHORT_SHA="abc1234", TAG_NAME="v1.2", BUILD_ID="0f1e2d3c-aaaa-bbbb").stdout.strip() == tag


@pytest.mark.parametrize("command", ['images/tag "nightly"', "images/tag release", 'images/targets "perhaps"'])
def test_a_kind_that_is_none_ends_the_build_with_a_sentence(command):
    done = ran(command, SHORT_SHA="abc1234")
    assert done.returncode != 0
    assert done.stderr


def test_push_writes_a_digest_file_that_the_command_reads(tmp_path):
    """Against a stand-in for Docker's command line: there is no registry here to push to."""
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        '[ "$1" = push ] && { echo "$3" >>"$0.pushed"; exit 0; }\n'
        "for last; do :; done\n"
        "name=${last%:*}\n"
        'echo "other.example/x@sha256:$(printf %064d 1)"\n'
        'echo "$name@sha256:$(printf "$name" | sha256sum | cut -c1-64)"\n'
    )
    docker.chmod(0o755)
    digests = tmp_path / "digests.json"
    done = ran(f"images/push {digests} train-gpu", PATH=f"{tmp_path}:{os.environ['PATH']}", REPOSITORY="registry.example/team/", TAG="v1")
    assert done.returncode == 0, done.stderr
    assert set(read_digests(digests)) == {*IMAGES, "train-gpu"}
    assert "intermodal-train:v1-gpu" in (tmp_path / "docker.pushed").read_text()
    assert "registry.example/team/intermodal-train:v1" in (tmp_path / "docker.pushed").read_text()


def test_a_registry_that_gives_no_digest_leaves_no_file(tmp_path):
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "docker").chmod(0o755)
    done = ran(f"images/push {tmp_path}/digests.json", PATH=f"{tmp_path}:{os.environ['PATH']}", REPOSITORY="r.example/t", TAG="v1")
    assert done.returncode == 1
    assert "gave no digest" in done.stderr
    assert not (tmp_path / "digests.json").exists()


GCLOUD = """#!/bin/sh
# A bucket that is a folder: `gcloud storage cp FROM TO`.
here() { case $1 in gs://*) echo "$(dirname "$0")/${1#gs://}" ;; *) echo "$1" ;; esac; }
mkdir -p "$(dirname "$(here "$4")")"
exec cp "$(here "$3")" "$(here "$4")"
"""


def test_events_run_the_images_that_the_last_finished_build_of_main_published(tmp_path):
    """Against a stand-in for the gcloud command line, whose bucket is a folder."""
    gcloud, settings = tmp_path / "gcloud", tmp_path / "bucket"
    gcloud.write_text(GCLOUD)
    gcloud.chmod(0o755)
    settings.mkdir()
    (settings / "targets.toml").write_text("[profiles.dev]\n")
    known = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "_TARGETS_URI": "gs://bucket/targets.toml"}
    main, event = tmp_path / "main", tmp_path / "event"
    main.mkdir()
    event.mkdir()

    early = ran(script("settings", FILES[1]), cwd=event, **known)
    assert (early.returncode, "no build of main has published digests.json yet" in early.stderr) == (1, True)

    (main / "digests.json").write_text(json.dumps(dict.fromkeys(IMAGES, f"sha256:{'1' * 64}")))
    assert ran(script("publish"), cwd=main, _KIND="main", **known).returncode == 0
    done = ran(script("settings", FILES[1]), cwd=event, **known)
    assert done.returncode == 0, done.stderr
    assert read_digests(event / "digests.json") == read_digests(main / "digests.json")
    assert "--digests digests.json" in script("trigger", FILES[1])


def test_nothing_is_published_for_events_before_it_has_run_to_its_end():
    waits = {step["id"]: step["waitFor"] for step in build(FILES[0])["steps"]}
    assert {"vertex", "sign", "lint"} <= after("publish", waits)


#: A program that an image holds, and a Docker that gives it out of that image.
TOOL = '#!/bin/sh\necho "$(basename "$0") $COSIGN_REPOSITORY $*" >>calls\n'
DOCKER = """#!/bin/sh
case $1 in
  pull) echo "pull $3" >>calls ;;
  create) echo held ;;
  cp) cp "$(dirname "$0")/tool" "$3" ;;
  rm) echo "rm $2" >>calls ;;
esac
"""


@pytest.fixture
def docker(tmp_path):
    """A stand-in for Docker's command line that hands out a stand-in for whatever program; returns the folder for PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"docker": DOCKER, "tool": TOOL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


SIGNED = {
    "REPOSITORY": "r.example/p/intermodal",
    "KEY": "gcpkms://k",
    "SOURCE": "o/n",
    "COMMIT": "c",
    "BUILD": "b",
    "BUILDER": "h",
    "BUILD_TYPE": "t",
}


def test_signatures_lie_where_tags_can_move(tmp_path, docker):
    """A second attestation moves the tag of the first."""
    (tmp_path / "digests.json").write_text(json.dumps(dict.fromkeys(IMAGES, f"sha256:{'1' * 64}"), indent=2))
    done = ran(f"{ROOT}/images/sign", cwd=tmp_path, PATH=f"{docker}:{os.environ['PATH']}", **SIGNED)
    assert done.returncode == 0, done.stderr
    pulled, removed, *calls = (tmp_path / "calls").read_text().splitlines()
    assert (pulled, removed) == (f"pull {tool_pins()['cosign'][0]}", "rm held")
    assert [call.split()[:3] for call in calls] == [
        ["cosign", "r.example/p/intermodal-signatures/images", verb] for _ in IMAGES for verb in ("sign", "attest", "attest")
    ]
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert (provenance["buildDefinition"]["buildType"], provenance["runDetails"]["builder"]["id"]) == ("t", "h")


def test_an_image_without_a_digest_is_not_signed_by_its_tag(tmp_path, docker):
    (tmp_path / "digests.json").write_text(json.dumps({"train": f"sha256:{'1' * 64}"}, indent=2))
    done = ran(f"{ROOT}/images/sign", cwd=tmp_path, PATH=f"{docker}:{os.environ['PATH']}", **SIGNED)
    assert (done.returncode, "digests.json has no digest of data" in done.stderr) == (1, True)


def test_every_image_is_scanned_and_a_finding_ends_the_build(tmp_path, docker):
    known = {"REPOSITORY": "r.example/p", "TAG": "abc", "PATH": f"{docker}:{os.environ['PATH']}"}
    done = ran(f"{ROOT}/images/scan", cwd=tmp_path, **known)
    assert done.returncode == 0, done.stderr
    pulled, _, *calls = (tmp_path / "calls").read_text().splitlines()
    assert pulled == f"pull {tool_pins()['trivy'][0]}"
    assert [call.split()[-1] for call in calls] == [f"r.example/p/intermodal-{image}:abc" for image in IMAGES]
    assert all("--exit-code 1 --severity CRITICAL" in call for call in calls)
    (docker / "tool").write_text("#!/bin/sh\nexit 1\n")
    assert ran(f"{ROOT}/images/scan", cwd=tmp_path, **known).returncode == 1


def tool_pins():
    """Return what images/tools says: program to image and path."""
    lines = [line.split() for line in (ROOT / "images" / "tools").read_text().splitlines() if not line.startswith("#")]
    return {name: (image, path) for name, image, path in lines}


BY_DIGEST = r"[a-z0-9./-]+(:[\w.-]+)?@sha256:[0-9a-f]{64}"


@pytest.mark.fault("Nobody in", "the tag of a builder's, a tool's or the base image is moved", "it changes nothing: each is named by digest")
def test_every_image_that_a_build_runs_is_named_by_its_digest():
    named = [step["name"] for path in FILES for step in build(path)["steps"]]
    named += [image for image, _ in tool_pins().values()]
    named += re.findall(r"^ARG BASE=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(named) > 15
    assert [name for name in named if not re.fullmatch(BY_DIGEST, name)] == []
    assert len({name.partition("@")[0] for name in named}) == len(set(named)), "one image, one digest"
    assert "container:" not in "".join(path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yaml"))


def test_every_image_has_a_bill_of_materials_that_names_what_the_lock_holds(tmp_path):
    done = ran(f"images/sbom {tmp_path}", UV=str(ROOT / ".venv" / "bin" / "uv"), HOME=os.environ.get("HOME", "/tmp"))
    assert done.returncode == 0, done.stderr
    made = {path.name.partition(".")[0]: json.loads(path.read_text()) for path in tmp_path.glob("*.cdx.json")}
    assert set(made) == set(IMAGES)
    for image, package in {"data": "feast", "validate": "tensorflow-data-validation", "train": "keras", "track": "mlflow", "serve": "kserve"}.items():
        assert (made[image]["bomFormat"], made[image]["specVersion"]) == ("CycloneDX", "1.5")
        component = next(each for each in made[image]["components"] if each["name"] == package)
        assert component["purl"].startswith(f"pkg:pypi/{package}@")


def test_the_scripts_know_every_image_and_each_has_a_budget():
    for name in ("build", "push", "sbom", "scan", "sign"):
        listed = re.search(r"(data validate train track serve)", (ROOT / "images" / name).read_text())
        assert listed, name
        assert listed[1].split() == list(IMAGES)
    budgets = dict(line.split() for line in (ROOT / "images" / "budgets").read_text().splitlines())
    assert set(IMAGES) <= set(budgets)
