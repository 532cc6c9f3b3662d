"""Files go to a place that bears their content's hash, whole, whoever else stages them: here, on an S3 server and on a Cloud Storage emulator."""

import json
import multiprocessing
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from intermodal.execution.environments import environment
from intermodal.runner.cache import Digests
from intermodal.runtime.errors import ConfigurationError, DataError, PlatformError
from intermodal.runtime.tree import check_staged, files_below, tree_hash
from intermodal.storage import object_store
from intermodal.storage.staging import Staging, stage_here
from tests.ports import free_port
from tests.servers.faults import PAGE, FaultyServer


@pytest.fixture(params=["s3", "gs"])
def place(request, monkeypatch):
    """Yield a staging place in an empty bucket, and a function that lists what is there."""
    url = request.getfixturevalue("s3" if request.param == "s3" else "gcs")
    bucket = f"bucket-{abs(hash(request.node.nodeid)) % 10**9}"
    if request.param == "s3":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3", endpoint_url=url)
        client.create_bucket(Bucket=bucket)

        def listed():
            return {each["Key"]: each["LastModified"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", [])}

        return Staging(f"s3://{bucket}/dev/", url), f"s3://{bucket}/dev", listed
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")
    client = storage.Client(credentials=AnonymousCredentials(), project="test")
    client.create_bucket(bucket)
    return Staging(f"gs://{bucket}/dev/"), f"gs://{bucket}/dev", lambda: {blob.name: blob.updated for blob in client.list_blobs(bucket)}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "repository"
    (made / "transforms").mkdir(parents=True)
    (made / "definitions.py").write_text("a = 1\n")
    (made / "transforms" / "b.sql").write_text("SELECT 1\n")
    (made / "__pycache__").mkdir()
    (made / "__pycache__" / "definitions.pyc").write_bytes(b"\0")
    return made


def test_a_folder_appears_with_its_files_and_a_marker_and_without_byte_code(place, folder):
    staging, root, listed = place
    uri = staging.stage(folder)
    assert uri.startswith(f"{root}/staged/")
    assert uri.endswith("/repository")
    digest = uri.split("/")[-2]
    assert set(listed()) == {
        f"dev/staged/{digest}/repository.complete",
        f"dev/staged/{digest}/repository/definitions.py",
        f"dev/staged/{digest}/repository/transforms/b.sql",
    }


def test_the_same_content_again_writes_nothing_and_other_content_goes_elsewhere(place, folder):
    staging, _, listed = place
    uri = staging.stage(folder)
    before = listed()
    assert staging.stage(folder) == uri
    assert listed() == before
    (folder / "definitions.py").write_text("a = 2\n")
    assert staging.stage(folder) != uri


def test_a_file_moved_within_the_folder_is_other_content(place, folder):
    staging, _, _ = place
    uri = staging.stage(folder)
    (folder / "definitions.py").rename(folder / "moved.py")
    assert staging.stage(folder) != uri


def test_an_upload_cut_half_way_is_made_whole_by_the_next(place, folder, monkeypatch):
    staging, _, listed = place
    store = staging._store
    real, calls = type(store).put, []

    def cut(self, key, content):
        calls.append(key)
        if len(calls) == 2:
            raise PlatformError("cut")
        real(self, key, content)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put", cut)
        with pytest.raises(PlatformError, match="cut"):
            staging.stage(folder)
    assert not any(key.endswith(".complete") for key in listed())
    staging.stage(folder)
    assert len(listed()) == 3


@pytest.fixture
def objects(place, request):
    """How to read, write and delete an object of the place, as somebody else would."""
    _, root, _ = place
    bucket = root.split("/")[2]
    if root.startswith("s3"):
        client = boto3.client("s3", endpoint_url=request.getfixturevalue("s3"))
        return (
            lambda key: client.get_object(Bucket=bucket, Key=key)["Body"].read(),
            lambda key, body: client.put_object(Bucket=bucket, Key=key, Body=body),
            lambda key: client.delete_object(Bucket=bucket, Key=key),
        )
    found = storage.Client(credentials=AnonymousCredentials(), project="test").bucket(bucket)
    return (
        lambda key: found.blob(key).download_as_bytes(),
        lambda key, body: found.blob(key).upload_from_string(body),
        lambda key: found.blob(key).delete(),
    )


HARMS = ["deleted", "changed, of equal size", "cut", "emptied", "one more", "marker deleted", "marker changed"]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.fault("New data", "an object that was staged is deleted, changed or added to", "the next submission writes it anew under the same URI")
def test_what_was_staged_is_looked_at_and_made_whole_again(place, folder, objects, harm):
    staging, root, listed = place
    read, write, delete = objects
    uri = staging.stage(folder)
    whole = {key: read(key) for key in listed()}
    key = uri.removeprefix(root.removesuffix("dev")) + "/definitions.py"
    marker = next(each for each in whole if each.endswith(".complete"))
    if harm.startswith("marker"):
        key = marker
    if harm.endswith("deleted"):
        delete(key)
    elif harm == "one more":
        write(f"{uri.removeprefix(root.removesuffix('dev'))}/transforms/a.sql", b"SELECT 2")
    else:
        write(key, {"cut": whole[key][:-1], "emptied": b""}.get(harm, whole[key][::-1]))
    assert {key: read(key) for key in listed()} != whole
    assert staging.stage(folder) == uri
    assert {key: read(key) for key in listed()} == whole


def test_an_object_sent_in_parts_is_known_again(place, tmp_path, objects):
    staging, root, listed = place
    read, write, _ = objects
    (tmp_path / "large.bin").write_bytes(os.urandom(9 << 20))
    uri = staging.stage(tmp_path / "large.bin")
    before = listed()
    assert staging.stage(tmp_path / "large.bin") == uri
    assert listed() == before
    key = uri.removeprefix(root.removesuffix("dev"))
    write(key, bytes(9 << 20))
    staging.stage(tmp_path / "large.bin")
    assert read(key) == (tmp_path / "large.bin").read_bytes()


def test_a_bucket_that_encrypts_with_a_key_of_its_own_is_compared_by_the_hash_beside_each_object(s3, folder, monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=s3)
    client.create_bucket(Bucket="encrypted")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "key"}}
    client.put_bucket_encryption(Bucket="encrypted", ServerSideEncryptionConfiguration={"Rules": [rule]})
    staging = Staging("s3://encrypted", s3)
    key = staging.stage(folder).removeprefix("s3://encrypted/") + "/definitions.py"
    head = client.head_object(Bucket="encrypted", Key=key)
    assert head["ServerSideEncryption"] == "aws:kms"
    staging.stage(folder)
    client.put_object(Bucket="encrypted", Key=key, Body=b"a = 9\n")
    staging.stage(folder)
    assert client.get_object(Bucket="encrypted", Key=key)["Body"].read() == b"a = 1\n"


@pytest.mark.fault("New data", "32 threads stage one folder in a bucket at once, an object of which was changed or deleted", "none sees a part of it")
def test_many_stage_at_once_and_each_then_finds_everything(place, folder, objects, fault_random):
    _, root, _ = place
    read, write, delete = objects
    whole = {name: path.read_bytes() for name, path in files_below(folder).items()}
    clients = [Staging(root, place[0]._endpoint) for _ in range(8)]  # making one takes longer than staging

    def stage(number):
        uri = clients[number % 8].stage(folder)
        key = uri.removeprefix(root.removesuffix("dev"))
        return uri, {name: read(f"{key}/{name}") for name in whole}

    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(stage, range(32)))
    assert {uri for uri, _ in made} == {made[0][0]}
    assert all(found == whole for _, found in made)
    key = f"{made[0][0].removeprefix(root.removesuffix('dev'))}/{fault_random.choice(sorted(whole))}"
    delete(key) if fault_random.random() < 0.5 else write(key, b"?")
    with ThreadPoolExecutor(16) as pool:
        assert all(found == whole for _, found in pool.map(stage, range(8)))


def test_the_marker_lists_the_files_with_their_sizes(place, folder, objects):
    staging, _, listed = place
    staging.stage(folder)
    read, _, _ = objects
    assert json.loads(read(next(each for each in listed() if each.endswith(".complete")))) == {
        "definitions.py": 6,
        "transforms/b.sql": 9,
    }


@pytest.mark.fault("New data", "two sources, or a repository that was renamed, have the same content", "each keeps what was staged for it")
def test_equal_content_under_two_names_is_staged_twice(place, folder, tmp_path, objects):
    staging, root, listed = place
    read, _, delete = objects
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("id\n1\n")
    shutil.copytree(folder, tmp_path / "renamed")
    uris = [staging.stage(tmp_path / name) for name in ("a.csv", "b.csv", "repository", "renamed")]
    whole = {key: read(key) for key in listed()}
    keys = [uri.removeprefix(root.removesuffix("dev")) for uri in uris]
    for key in [*keys[:2], *(f"{each}/definitions.py" for each in keys[2:]), *(f"{each}.complete" for each in keys)]:
        assert key in whole
    delete(keys[0])
    assert staging.stage(tmp_path / "a.csv") == uris[0]
    assert {key: read(key) for key in listed()} == whole


@pytest.mark.parametrize("harm", ["file", "marker"])
@pytest.mark.fault(
    "New data", "a file of a staged source is deleted before a scheduled run", "the run is refused in one sentence, not run on less data"
)
def test_a_run_on_a_staged_source_that_is_not_whole_is_refused(place, folder, objects, harm, request, monkeypatch):
    staging, root, listed = place
    (folder / "a.csv").write_text("id\n1\n")
    (folder / "b.csv").write_text("id\n2\n")
    uri = staging.stage(folder, "*.csv")
    one = staging.stage(folder / "a.csv")
    if root.startswith("s3"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    ask = (
        "import sys; from intermodal.components.fingerprint_sources.logic import fingerprint_sources\n"
        "print(fingerprint_sources([{'name': f'rows{n}', 'uri': uri} for n, uri in enumerate(sys.argv[1:])]))"
    )

    def fingerprint():
        variables = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
        return subprocess.run([str(environment("data")), "-c", ask, uri, one], env=variables, capture_output=True, text=True, timeout=60, check=False)

    assert fingerprint().returncode == 0, fingerprint().stderr
    objects[2](next(each for each in listed() if each.endswith("b.csv" if harm == "file" else f"/{folder.name}.complete")))
    assert "files that were staged here were deleted or changed since; submit again" in fingerprint().stderr
    assert staging.stage(folder, "*.csv") == uri
    assert fingerprint().returncode == 0


def test_a_glob_takes_what_matches_and_keeps_its_pattern(place, folder):
    staging, _, listed = place
    uri = staging.stage(folder, "*/*.sql")
    assert uri.endswith("/repository/*/*.sql")
    assert [key.rsplit("/", 2)[1:] for key in listed() if not key.endswith(".complete")] == [["transforms", "b.sql"]]


def test_nothing_to_stage_is_refused_with_the_path(place, tmp_path):
    staging, _, _ = place
    with pytest.raises(ConfigurationError, match="absent"):
        staging.stage(tmp_path / "absent")


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_bucket_that_is_not_there_is_named_with_the_remedy(scheme, request, monkeypatch, folder):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("gcs"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with pytest.raises(PlatformError) as caught:
        Staging(f"{scheme}://nobodys-bucket", request.getfixturevalue("s3")).stage(folder)
    assert f"{scheme}://nobodys-bucket" in str(caught.value)
    assert "targets.toml" in str(caught.value)


def test_missing_credentials_say_which(monkeypatch, s3, folder, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(PlatformError, match="AWS_ACCESS_KEY_ID"):
        Staging("s3://bucket", s3).stage(folder)


def test_a_store_that_does_not_listen_says_so_soon(monkeypatch, folder):
    monkeypatch.setattr(object_store, "_ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(PlatformError, match="nothing was written there"):
        Staging("s3://bucket", f"http://127.0.0.1:{free_port()}").stage(folder)


def test_a_root_of_another_kind_is_refused(folder):
    with pytest.raises(ConfigurationError, match="gs:// or s3://"):
        Staging("minio://bucket").stage(folder)


# On this machine.


def content(path):
    return {name: each.read_bytes() for name, each in files_below(Path(path)).items()}


@pytest.fixture
def linked(tmp_path):
    """A repository whose `transforms` is a link to a folder elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.sql").write_text("SELECT 1")
    made = tmp_path / "repository"
    made.mkdir()
    (made / "definitions.py").write_text("a = 1")
    (made / "transforms").symlink_to(tmp_path / "elsewhere")
    return made


@pytest.mark.fault("New data", "a file changes in a repository's `transforms/` that is a link", "hash, copy, upload and cache all see it")
def test_a_change_behind_a_linked_folder_is_staged(linked, tmp_path, place):
    staging, _, listed = place
    ways = {
        "here": lambda: str(stage_here(linked, tmp_path / "home")),
        "store": lambda: staging.stage(linked),
        "hash": lambda: tree_hash(linked),
        "cache": lambda: Digests(tmp_path / "digests").of(linked),
    }
    before = {name: way() for name, way in ways.items()}
    assert content(before["here"]) == {"definitions.py": b"a = 1", "transforms/b.sql": b"SELECT 1"}
    assert any(key.endswith("/transforms/b.sql") for key in listed())
    (tmp_path / "elsewhere" / "b.sql").write_text("SELECT 2")
    after = {name: way() for name, way in ways.items()}
    assert [name for name in ways if before[name] == after[name]] == []
    assert content(after["here"])["transforms/b.sql"] == b"SELECT 2"
    assert not (Path(after["here"]) / "transforms").is_symlink()


@pytest.mark.fault("New data", "a repository holds a link to itself", "it is refused in one sentence, wherever it is hashed, copied or uploaded")
def test_a_folder_that_links_to_itself_is_refused(linked, tmp_path):
    (tmp_path / "elsewhere" / "self").symlink_to(linked)
    for way in (lambda: stage_here(linked, tmp_path / "home"), lambda: tree_hash(linked), lambda: Staging("s3://never-asked").stage(linked)):
        with pytest.raises(DataError, match=r"transforms/self: this link leads to .*repository, one of its own parent folders"):
            way()


@pytest.mark.parametrize("harm", ["deleted", "changed", "one more", "a folder in its place", "folder deleted", "linked elsewhere"])
@pytest.mark.fault(
    "New data", "a file of a staged folder is deleted, changed or added to", "the next run makes the folder whole again under the same name"
)
def test_a_staged_folder_is_looked_at_and_made_whole_again(folder, tmp_path, harm):
    target = stage_here(folder, tmp_path / "staged")
    file = target / "transforms" / "b.sql"
    if harm == "one more":
        (target / "transforms" / "c.sql").write_text("SELECT 2")
    elif harm == "changed":
        status = file.stat()
        file.write_text("SELECT 9\n")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        file.unlink()
    if harm == "a folder in its place":
        file.mkdir()
        (file / "x").write_text("x")
    elif harm == "folder deleted":
        file.parent.rmdir()
    elif harm == "linked elsewhere":
        file.symlink_to(folder / "transforms" / "b.sql")
    with pytest.raises(DataError, match="submit again"):
        check_staged(target) if harm != "linked elsewhere" else check_staged(target.with_name("absent"))
    assert stage_here(folder, tmp_path / "staged") == target
    assert content(target) == content(folder)
    assert not file.is_symlink()
    check_staged(target)


def stage_and_read(arguments):
    folder, home = arguments
    return content(stage_here(folder, home))


@pytest.mark.fault("New data", "36 processes stage one folder at once, others are killed half way, a file is changed", "none sees a part of it")
def test_many_processes_stage_at_once_and_each_then_finds_everything(tmp_path, fault_random):
    folder = tmp_path / "repository"
    for name in ("a.py", "b.py", "transforms/1.sql", "transforms/2.sql"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(fault_random.randbytes(200_000))
    fork = multiprocessing.get_context("fork")
    for number in range(3):
        home = tmp_path / f"home{number}"
        killed = [fork.Process(target=stage_and_read, args=((folder, home),)) for _ in range(4)]
        for each in killed:
            each.start()
        with fork.Pool(36) as pool:
            asked = pool.map_async(stage_and_read, [(folder, home)] * 72, chunksize=1)
            for each in killed:
                time.sleep(fault_random.random() * 0.01)
                each.kill()
            found = asked.get(120)
            assert all(each == content(folder) for each in found)
            (path,) = (each / "repository" for each in home.iterdir() if each.is_dir())
            victim = path / fault_random.choice(sorted(content(path)))
            victim.unlink() if fault_random.random() < 0.5 else victim.write_bytes(b"?")
            assert all(each == content(folder) for each in pool.map(stage_and_read, [(folder, home)] * 36, chunksize=1))
        for each in killed:
            each.join(10)


@pytest.mark.fault("New data", "a file changes while its folder is staged", "what is staged is what its name says, or nothing is")
def test_a_folder_that_changes_while_it_is_staged_is_never_staged_under_a_wrong_name(folder, tmp_path, monkeypatch):
    from intermodal.storage import staging

    real, calls = staging._place, []

    def changes(source, target, home):
        calls.append(source)
        (folder / "definitions.py").write_text(f"a = {len(calls) if forever or len(calls) < 3 else 3}\n")
        real(source, target, home)

    monkeypatch.setattr(staging, "_place", changes)
    forever = False
    target = stage_here(folder, tmp_path / "home" / "staged")
    assert content(target) == content(folder)
    check_staged(target)
    forever = True
    (folder / "definitions.py").write_text("another = 1\n")
    with pytest.raises(DataError, match="its files change while they are copied"):
        stage_here(folder, tmp_path / "home" / "staged")


def test_an_ordinary_folder_is_not_held_to_a_hash(tmp_path):
    check_staged(tmp_path / "absent")


class _Proxy(FaultyServer):
    def respond(self, request, state):
        return 200, self.state["answer"]


@pytest.mark.fault("Wrong input", "a login page, half an answer or other JSON in the place of an object store", "one sentence")
@pytest.mark.parametrize("answer", [PAGE, b'{"a":', [], {}])
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_what_is_no_object_store_ends_in_a_sentence(scheme, answer, folder, monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "GOOGLE_CLOUD_PROJECT": "test"}.items():
        monkeypatch.setenv(name, value)
    with _Proxy(state={"answer": answer}).running() as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        with pytest.raises(PlatformError, match=f"{scheme}://bucket"):
            Staging(f"{scheme}://bucket/root", proxy.url).stage(folder)
