"""Checkpoints are whole or not there, the newest whole one is found, what goes wrong is said: in folders and in real object stores on loopback."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import urllib.request
from pathlib import Path

import boto3
import ml_dtypes
import numpy as np
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from intermodal.runtime.errors import ConfigurationError, IntermodalError, MachineError, PlatformError
from intermodal.training.checkpoints.keeping import Checkpoints
from tests.ports import free_port
from tests.servers.storage import s3_server, slow_uploads

IDENTITY = {"model": "4f1d", "data": "99aa", "hyperparameters": {"learning_rate": 0.001, "hidden_units": [8, 8]}}


@pytest.fixture
def s3_bucket(s3, monkeypatch):
    """A new bucket of a real S3 server, to which the environment leads."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": s3,
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    name = f"bucket-{time.monotonic_ns()}"
    client.create_bucket(Bucket=name)
    return client, name


@pytest.fixture
def gcs_bucket(gcs, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")
    return storage.Client(credentials=AnonymousCredentials(), project="test").create_bucket(f"bucket-{time.monotonic_ns()}")


class Store:
    """A place for checkpoints, and its files."""

    def __init__(self, where, read, write):
        self.where, self.read, self.write = where, read, write

    def names(self):
        return sorted(self.read())


@pytest.fixture(params=["folder", "s3", "gs"])
def store(request, tmp_path):
    if request.param == "folder":
        folder = tmp_path / "run" / "checkpoints"

        def write(name, content):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

        return Store(str(folder), lambda: {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}, write)
    if request.param == "s3":
        client, bucket = request.getfixturevalue("s3_bucket")

        def found():
            keys = [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
            return {key.removeprefix("run/checkpoints/"): client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

        def put(name, content):
            client.put_object(Bucket=bucket, Key=f"run/checkpoints/{name}", Body=content)

        return Store(f"s3://{bucket}/run/checkpoints", found, put)
    bucket = request.getfixturevalue("gcs_bucket")
    return Store(
        f"gs://{bucket.name}/run/checkpoints/",
        lambda: {blob.name.removeprefix("run/checkpoints/"): blob.download_as_bytes() for blob in bucket.list_blobs()},
        lambda name, content: bucket.blob(f"run/checkpoints/{name}").upload_from_string(content),
    )


def opened(where, keep=3, **changed):
    return Checkpoints(str(where), keep, IDENTITY | changed, {"workers": 1})


def weights(step):
    return {"dense/kernel": np.full((3, 4), step, np.float32), "optimizer/iterations": np.array(step)}


def save(where, *steps, keep=3):
    with opened(where, keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, weights(step), {"step": step})
    return checkpoints


def step_of(found):
    """Return a checkpoint's step, which all that it holds agrees about."""
    arrays, state = found
    assert set(arrays) == {"dense/kernel", "optimizer/iterations"}
    assert np.array_equal(arrays["dense/kernel"], np.full((3, 4), state["step"], np.float32))
    assert arrays["optimizer/iterations"] == state["step"]
    return state["step"]


def test_the_newest_is_what_was_saved_last_and_the_oldest_go(store):
    assert opened(store.where).newest() is None
    store.write("notes.txt", b"of somebody else")
    last = save(store.where, 100, 200, 300, 400, 99_999_999, 100_000_000).last
    assert step_of(opened(store.where).newest()) == 100_000_000
    names = store.names()
    assert [name[:14] for name in names] == ["notes.txt", "step-00000400-", "step-100000000", "step-99999999-"]
    assert last == f"{store.where.rstrip('/')}/{names[2]}"


def test_what_a_killed_process_did_not_remove_goes_when_training_goes_on(store):
    save(store.where, 100, 200, 300, 400, keep=4)
    assert step_of(opened(store.where, keep=2).newest()) == 400
    assert [name[:13] for name in store.names()] == ["step-00000300", "step-00000400"]


@pytest.mark.fault("Training", "the newest checkpoint is damaged", "it is named and passed over, and training goes on from the one before")
@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:50] + b"\xff" + content[51:], lambda content: b""])
def test_a_damaged_newest_is_said_and_passed_over(store, damage, capsys):
    save(store.where, 100, 200, 300)
    *_, broken = store.names()
    store.write(broken, damage(store.read()[broken]))
    checkpoints = opened(store.where, keep=2)
    assert step_of(checkpoints.newest()) == 200
    said = capsys.readouterr().out.splitlines()
    assert re.search(rf"{broken}: this checkpoint is passed over, for its content has the hash [0-9a-f]{{16}}; the one before is taken", said[0])
    assert "training goes on after step 200" in said[1]
    # What is known to be damaged does not count among those that are kept, and goes when a newer one is there.
    with checkpoints:
        checkpoints.save(400, weights(400), {"step": 400})
    assert [name[:13] for name in store.names()] == ["step-00000200", "step-00000400"]


def test_the_same_step_again_mends_the_damaged_file(store):
    save(store.where, 100, 200)
    before = store.read()
    *_, broken = store.names()
    store.write(broken, b"torn")
    checkpoints = opened(store.where)
    assert step_of(checkpoints.newest()) == 100
    with checkpoints:
        checkpoints.save(200, weights(200), {"step": 200})
    assert store.read() == before  # the same content, so the same name


def test_where_all_are_damaged_training_starts_anew(store, capsys):
    save(store.where, 100, 200)
    for name in store.names():
        store.write(name, b"")
    assert opened(store.where).newest() is None
    assert capsys.readouterr().out.count("passed over") == 2


def test_another_trainings_checkpoint_is_refused_by_what_differs(store):
    save(store.where, 100)
    other = {"hyperparameters": {"learning_rate": 0.01, "hidden_units": [8, 8]}, "data": "77bb"}
    with pytest.raises(ConfigurationError) as caught:
        opened(store.where, **other).newest()
    assert store.names()[0] in str(caught.value)
    assert 'data is "77bb" here and "99aa" there, hyperparameters.learning_rate is 0.01 here and 0.001 there;' in str(caught.value)
    assert "a place of its own" in str(caught.value)
    assert "hidden_units" not in str(caught.value)


def test_another_number_of_workers_is_taken_and_said(store, capsys):
    save(store.where, 100)
    checkpoints = Checkpoints(store.where, 3, IDENTITY, {"workers": 2})
    assert step_of(checkpoints.newest()) == 100
    assert "workers is 2 here and 1 there: the result is the same within rounding, not bit by bit" in capsys.readouterr().out


def test_a_later_checkpoint_of_an_older_attempt_is_taken_and_never_removed_by_an_earlier_step(store):
    old, new = opened(store.where, keep=1), opened(store.where, keep=1)
    with old, new:
        old.save(100, weights(100), {"step": 100})
        old.close()
        assert step_of(new.newest()) == 100
        old.save(300, weights(300), {"step": 300})  # the old pod is still there
        old.close()
        new.save(200, weights(200), {"step": 200})
    assert [name[:13] for name in store.names()] == ["step-00000200", "step-00000300"]
    assert step_of(opened(store.where).newest()) == 300
    save(store.where, 400, keep=1)
    assert [name[:13] for name in store.names()] == ["step-00000400"]


def test_arrays_are_copied_when_they_are_saved(tmp_path):
    value = np.zeros(2_000_000)
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": value}, {})
        value[:] = 1
    arrays, _ = opened(tmp_path).newest()
    assert not arrays["w"].any()


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        arrays_of.arrays(
            st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_, ">i4", "<U3"]),
            arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        ),
        max_size=4,
    ),
    st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), max_size=4),
)
def test_what_is_read_is_what_was_saved_bit_by_bit(arrays, state):
    with tempfile.TemporaryDirectory() as folder:
        with opened(folder) as checkpoints:
            checkpoints.save(7, arrays, state)
        read, read_state = opened(folder).newest()
    assert list(read) == list(arrays)
    for name, value in arrays.items():
        assert (read[name].dtype, read[name].shape, read[name].tobytes()) == (value.dtype, value.shape, value.tobytes())
    assert repr(read_state) == repr(state)


def test_types_of_accelerators_and_strided_arrays_come_back(tmp_path):
    arrays = {
        "bf": np.arange(6, dtype=ml_dtypes.bfloat16).reshape(2, 3),
        "f8": np.ones(3, ml_dtypes.float8_e4m3fn),
        "strided": np.arange(12).reshape(3, 4).T,
    }
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, arrays, {})
    read, _ = opened(tmp_path).newest()
    for name, value in arrays.items():
        assert read[name].dtype == value.dtype
        assert np.array_equal(read[name], value)


def test_python_objects_are_refused_before_anything_is_written(tmp_path):
    checkpoints = opened(tmp_path)
    with pytest.raises(TypeError, match="w: an array of Python objects"):
        checkpoints.save(1, {"w": np.array([object()])}, {})
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoints.save(1, {}, {"at": Path()})
    assert not list(tmp_path.iterdir())


def test_neither_tensorflow_nor_a_clients_library_is_imported_for_a_folder(tmp_path):
    code = (
        "import sys, intermodal.training.checkpoints.keeping as c; c.Checkpoints(sys.argv[1], 1, {}); print({'tensorflow', 'boto3'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("where", "keep", "words"),
    [
        ("http://127.0.0.1/here", 3, "checkpoints go to a folder, or to gs://, s3:// or minio://"),
        ("minio://bucket/here", 3, "set AWS_ENDPOINT_URL_S3"),
        ("/tmp/anywhere", 0, "keep at least 1"),
    ],
)
def test_a_place_that_cannot_be_is_refused(where, keep, words, monkeypatch):
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match=words):
        Checkpoints(where, keep, {})


def test_minio_is_s3_at_the_endpoint_of_the_environment(s3_bucket):
    _, bucket = s3_bucket
    save(f"minio://{bucket}/run", 5)
    assert step_of(opened(f"s3://{bucket}/run").newest()) == 5
    # Its neighbours are other trainings'.
    save(f"s3://{bucket}/run-2", 6)
    save(f"s3://{bucket}", 7)
    assert step_of(opened(f"s3://{bucket}/run").newest()) == 5


@pytest.mark.fault("Training", "the disk of the checkpoints fills up", "the next call names the disk; those written before stay and are resumed from")
def test_a_full_disk_is_said_at_the_next_call_and_the_one_before_stays(small_disk, capsys):
    folder = small_disk("disk", 2)
    checkpoints = opened(folder)
    checkpoints.save(1, weights(1), {"step": 1})
    checkpoints.save(2, {"w": np.zeros(2**19)}, {"step": 2})
    with pytest.raises(MachineError, match=rf"the checkpoint of step 2 was not written to {folder}: .*no room left in {folder}"):
        checkpoints.save(3, weights(3), {"step": 3})
    assert [path.name[:13] for path in folder.iterdir()] == ["step-00000001"]
    assert checkpoints.last.startswith(f"{folder}/step-00000001-")
    checkpoints.save(4, weights(4), {"step": 4})  # whoever goes on may
    assert step_of(checkpoints.newest()) == 4


@pytest.mark.fault("Training", "the folder of the checkpoints is read-only", "said before the first step; when it becomes so, at the next call")
def test_a_folder_that_cannot_be_written_to_is_said_before_training(small_disk):
    folder = small_disk("disk", 2)
    checkpoints = opened(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with pytest.raises(ConfigurationError, match=f"{folder}: checkpoints cannot be written there .*name a folder"):
        opened(folder)
    checkpoints.save(1, weights(1), {})
    with pytest.raises(MachineError, match=f"step 1 was not written to {folder} .*Read-only file system.*make the folder writable"):
        checkpoints.close()
    with pytest.raises(ConfigurationError, match="cannot be written there"):
        opened("/proc/checkpoints")


def test_a_mounted_bucket_is_a_folder(bucket, capsys):
    """As gcsfuse mounts one, which Vertex AI does."""
    save(bucket.path / "run" / "checkpoints", 1, 2, 3, keep=2)
    assert step_of(opened(bucket.path / "run" / "checkpoints").newest()) == 3
    assert [path.name[:13] for path in sorted((bucket.path / "run" / "checkpoints").iterdir())] == ["step-00000002", "step-00000003"]
    assert "passed over" not in capsys.readouterr().out


def test_a_folder_that_disappears_is_said_at_the_next_call(tmp_path):
    checkpoints = opened(tmp_path / "checkpoints")
    (tmp_path / "checkpoints").rmdir()
    checkpoints.save(1, weights(1), {})
    with pytest.raises(MachineError, match=r"the checkpoint of step 1 was not written to .*No such file or directory"):
        checkpoints.save(2, weights(2), {})


@pytest.mark.fault("Training", "the bucket of the checkpoints is not there", "an error that names it; never a start from the first step")
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_bucket_that_is_gone_is_an_error_and_not_an_empty_place(scheme, request):
    request.getfixturevalue(f"{'s3' if scheme == 's3' else 'gcs'}_bucket")
    checkpoints = opened(f"{scheme}://gone/run")
    with pytest.raises(PlatformError, match=f"{scheme}://gone.*there is no such bucket"):
        checkpoints.newest()
    checkpoints.save(1, weights(1), {})
    with pytest.raises(PlatformError, match=f"the checkpoint of step 1 was not written to {scheme}://gone/run: .*there is no such bucket"):
        checkpoints.save(2, weights(2), {})


def test_a_store_that_does_not_answer_is_an_error_and_not_an_empty_place(s3_bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(PlatformError, match="did not answer as expected"):
        opened("s3://bucket/run").newest()


@pytest.mark.fault("Training", "the store refuses the credentials", "said before the first step")
def test_refused_credentials_are_said(tmp_path, monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    with s3_server(tmp_path) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        boto3.client("s3").create_bucket(Bucket="mine")
        checkpoints = opened("s3://mine/run")
        assert checkpoints.newest() is None
        _check_credentials(url)
        with pytest.raises(PlatformError, match=r"s3://mine.*refused \(InvalidAccessKeyId\)"):
            checkpoints.newest()
        checkpoints.save(1, weights(1), {})
        with pytest.raises(PlatformError, match=r"step 1 was not written to s3://mine/run: .*refused \((InvalidAccessKeyId|403)\)"):
            checkpoints.close()


def _check_credentials(url):
    """Have the server check credentials from now on."""
    request = urllib.request.Request(f"{url}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}, method="POST")
    urllib.request.urlopen(request, timeout=5).close()


@pytest.mark.fault("Training", "writing takes longer than the interval", "training waits, nothing piles up, and a line says so once")
def test_a_slow_store_is_waited_for_and_said_once(s3, s3_bucket, monkeypatch, capsys):
    _, bucket = s3_bucket
    with slow_uploads(s3, 1.2) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        with opened(f"s3://{bucket}/run") as checkpoints:
            began = time.monotonic()
            checkpoints.save(1, weights(1), {"step": 1})
            assert time.monotonic() - began < 0.5  # it returns at once
            checkpoints.save(2, weights(2), {"step": 2})
            checkpoints.save(3, weights(3), {"step": 3})
    said = capsys.readouterr().out
    assert said.count("save less often") == 1
    assert re.search(rf"to write the one of step 1 to s3://{bucket}/run took \d\.\d s, and training waited \d\.\d s", said)
    assert checkpoints.waited > 2
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3)
    assert step_of(opened(f"s3://{bucket}/run").newest()) == 3


def test_an_error_of_the_training_goes_before_one_of_the_last_write(tmp_path, capsys):
    with pytest.raises(ZeroDivisionError), opened(tmp_path / "checkpoints") as checkpoints:
        (tmp_path / "checkpoints").rmdir()
        checkpoints.save(1, weights(1), {})
        raise ZeroDivisionError
    assert "the checkpoint of step 1 was not written" in capsys.readouterr().out


def test_a_killed_writers_scratch_file_is_removed_when_it_is_old(tmp_path):
    old, young = tmp_path / ".step-00000001.a.partial", tmp_path / ".step-00000002.b.partial"
    for each in (old, young):
        each.write_bytes(b"half")
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    assert opened(tmp_path).newest() is None
    assert list(tmp_path.iterdir()) == [young]


WRITER = textwrap.dedent(
    """
    import sys, time
    import numpy as np
    from intermodal.training.checkpoints.keeping import Checkpoints
    where, keep, first, last, size = sys.argv[1], *map(int, sys.argv[2:])
    checkpoints = Checkpoints(where, keep, {"model": "m"})
    for step in range(first, last):
        checkpoints.save(step, {"w": np.full(size, step, np.int64)}, {"step": step})
        print(step, flush=True)
    """
)


def writing(where, keep, first, last, size, **options):
    return subprocess.Popen([sys.executable, "-c", WRITER, *map(str, (where, keep, first, last, size))], stdout=subprocess.PIPE, text=True, **options)


def whole(where):
    """Return the step of the newest checkpoint of `WRITER`, all of whose numbers are that step, or None."""
    found = Checkpoints(str(where), 1, {"model": "m"}).newest()
    if found is None:
        return None
    arrays, state = found
    assert (arrays["w"] == state["step"]).all()
    return state["step"]


def test_an_interpreter_that_ends_finishes_the_write(tmp_path):
    process = writing(tmp_path, 2, 1, 4, 500_000)
    assert process.wait(60) == 0
    process.stdout.close()
    assert whole(tmp_path) == 3


@pytest.mark.fault("Training", "kill -9 while a checkpoint is written", "the newest whole one is that one or the one before; never half of one")
def test_a_kill_at_any_time_leaves_a_whole_newest(tmp_path, fault_random, capsys):
    newest = 0
    for _ in range(8):
        with writing(tmp_path, 2, newest + 1, 10**6, 200_000) as process:
            for _ in range(fault_random.randint(2, 5)):
                written = int(process.stdout.readline())
            time.sleep(fault_random.random() * 0.02)
            process.send_signal(signal.SIGKILL)
        found = whole(tmp_path)
        # `save` of step n returns when the write of n - 1 has ended.
        assert found is not None
        assert found >= written - 1
        newest = found
        assert len(list(tmp_path.glob("step-*.npz"))) <= 3
    assert "passed over" not in capsys.readouterr().out


@pytest.mark.fault("Training", "two attempts write at once and remove old ones", "whoever resumes finds a whole one, none older than before")
def test_a_reader_beside_two_writers_always_finds_a_whole_one(tmp_path):
    save_one = writing(tmp_path, 1, 1, 2, 1000)
    assert save_one.wait(60) == 0
    save_one.stdout.close()
    seen = [whole(tmp_path)]
    with writing(tmp_path, 1, 2, 150, 1000) as one, writing(tmp_path, 1, 60, 200, 1000) as two:
        readers = [threading.Thread(target=process.stdout.read) for process in (one, two)]
        for each in readers:
            each.start()
        while one.poll() is None or two.poll() is None:
            seen.append(whole(tmp_path))
        for each in readers:
            each.join()
    assert seen == sorted(seen)
    assert whole(tmp_path) == 199


def test_every_error_is_one_sentence_without_a_password(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://user:hunter22@127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(IntermodalError) as caught:
        opened("s3://bucket/run").newest()
    assert "hunter22" not in str(caught.value)
