"""The Beam path gives what the streaming path gives, and says what its options lack."""

import pytest

from intermodal.runtime.errors import ConfigurationError, DataError, MachineError


def test_a_local_beam_runner_gives_the_same_outputs(run):
    run.write("train", "1.parquet", rows=77)
    run()
    streamed = {name: (run.path / name).read_bytes() for name in ("anomalies/anomalies.json", "schema/schema.pbtxt")}
    statistics = {part: run.statistics(part) for part in ("train", "validation", "test")}
    run(beam_options=["--runner=DirectRunner", f"--temp_location={run.path}"])
    assert {name: (run.path / name).read_bytes() for name in streamed} == streamed
    assert {part: run.statistics(part) for part in statistics} == statistics
    assert run.statistics("train").num_examples == 477
    assert not list(run.path.glob("statistics-*"))


def test_workers_find_the_examples_by_their_uri(run):
    run(beam_options=["--runner=DirectRunner"], examples_uri=f"file://{run.examples}")
    assert run.statistics("train").num_examples == 400
    with pytest.raises(Exception, match="elsewhere/train"):
        run(beam_options=["--runner=DirectRunner"], examples_uri="file:///elsewhere")


def test_a_part_without_rows(run):
    run.write("validation", rows=0)
    with pytest.raises(Exception, match="validation: the part has no rows"):
        run(beam_options=["--runner=DirectRunner"])


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--runner=NoSuchRunner"], "NoSuchRunner"), (["--runner=FlinkRunner"], "needs --temp_location")],
)
def test_options_that_cannot_work(run, options, words):
    with pytest.raises(ConfigurationError, match=words):
        run(beam_options=options)


def test_truncated_parquet_is_named(run):
    path = run.write("test", "1.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"test/1\.parquet: not whole Parquet"):
        run(beam_options=["--runner=DirectRunner"])


@pytest.mark.fault(
    "Stores", "a full temporary directory while Beam's workers leave their statistics there", "the message names the disk that is full"
)
def test_a_full_temporary_directory_is_named(run, small_disk, temporary):
    disk = small_disk("temporary", 1, room=8192)
    temporary(disk)
    with pytest.raises(MachineError, match=rf"statistics: no room left in {disk}\S*: its disk, mounted at {disk}, is full"):
        run(beam_options=["--runner=DirectRunner"])
    assert not list(disk.rglob("statistics-*"))
