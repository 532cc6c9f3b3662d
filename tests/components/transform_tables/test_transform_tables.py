"""A repository's SQL over tables: what it makes, what it may see, and how it fails."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.components.transform_tables import logic
from intermodal.components.transform_tables.logic import transform_tables
from intermodal.runtime.errors import ConfigurationError, DataError, MachineError
from intermodal.runtime.tree import check_whole, tree_hash


@dataclass(frozen=True)
class Workplace:
    folder: Path

    def table(self, name: str, table: pa.Table, part: str = "") -> None:
        path = self.folder / "tables" / name / part
        path.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path / "part-0.parquet")

    def run(self, **statements: str | bytes) -> dict[str, pa.Table]:
        """Transform with one file a keyword, and return what was written."""
        transforms = self.folder / "repository" / "transforms"
        transforms.mkdir(parents=True, exist_ok=True)
        for old in transforms.iterdir():
            old.unlink()
        for name, sql in statements.items():
            (transforms / f"{name.removeprefix('n')}.sql").write_bytes(sql.encode() if isinstance(sql, str) else sql)
        transform_tables(str(self.folder / "tables"), str(self.folder / "repository"), str(self.output))
        return {path.stem: pq.read_table(path) for path in self.output.iterdir()}

    @property
    def output(self) -> Path:
        return self.folder / "made"


@pytest.fixture
def place(tmp_path):
    # A folder above that looks like a Hive partition must not become a column.
    place = Workplace(tmp_path / "run=5")
    place.table("sales", pa.table({"shop": ["a", "b"], "sold": [1, 2], "sold_at": pa.array([0, 1], pa.timestamp("us", "UTC"))}), "split=train")
    place.table("sales", pa.table({"shop": ["a"], "sold": [4], "sold_at": pa.array([2], pa.timestamp("us", "UTC"))}), "split=1")
    place.table("shops", pa.table({"shop": ["a", "b"], "city": ["Bern", "Genf"]}))
    return place


def test_each_file_makes_a_relation_that_later_ones_read(place):
    made = place.run(
        n10__joined="SELECT * FROM sales JOIN shops USING (shop);",
        n20_totals="-- a comment\nSELECT city, sum(sold)::BIGINT AS sold FROM _joined GROUP BY city ORDER BY city DESC",
        n30_best="SELECT city FROM totals LIMIT 1 -- no newline after this",
    )
    assert {name: table.to_pylist() for name, table in made.items()} == {
        "totals": [{"city": "Genf", "sold": 2}, {"city": "Bern", "sold": 5}],
        "best": [{"city": "Genf"}],
    }


def test_the_split_is_a_text_column_and_the_path_above_is_none(place):
    made = place.run(all="SELECT * FROM sales ORDER BY sold")["all"]
    assert made.column_names == ["shop", "sold", "sold_at", "split"]
    assert made["split"].to_pylist() == ["train", "train", "1"]


def test_times_are_utc(place):
    made = place.run(t="SELECT sold_at, strftime(sold_at, '%H') AS hour, TIMESTAMPTZ '2013-01-01 05:00:00' AS noon FROM sales WHERE sold = 1")["t"]
    assert made.to_pylist() == [{"sold_at": datetime(1970, 1, 1, tzinfo=UTC), "hour": "00", "noon": datetime(2013, 1, 1, 5, tzinfo=UTC)}]


@pytest.mark.parametrize(
    ("name", "sql", "message"),
    [
        ("n10_t", "SELECT\n  sold\nFROM shops", r'10_t\.sql: Binder Error: .*"sold"'),
        ("n10_t", "SELECT shop\nFROM shops\nWHERE nope = 1", r'(?s)10_t\.sql: Binder Error: .*"nope".*LINE 3: WHERE nope'),
        ("n10_t", "SELECT shop FROM shop", r"10_t\.sql: Catalog Error: .*shop does not exist"),
        ("n10_t", "SELECT (1", r"10_t\.sql: Parser Error"),
        ("n10_t", "SELECT 1; SELECT 2", r"10_t\.sql: it must be one SELECT"),
        ("n10_t", "CREATE TABLE x AS SELECT 1", r"10_t\.sql: it must be one SELECT"),
        ("n10_t", "COPY (SELECT 1) TO 'x.csv'", r"10_t\.sql: it must be one SELECT"),
        ("n10_t", "-- nothing yet", r"10_t\.sql: it must be one SELECT"),
        ("n10_t", b"SELECT 'caf\xe9'", r"10_t\.sql: not UTF-8 text at byte 11"),
        ("n10_sales", "SELECT 1", r"10_sales\.sql: there is already a table 'sales'; rename the file"),
        ("n10_SALES", "SELECT 1", r"10_SALES\.sql: there is already a table 'SALES'"),
        ("n10-t", "SELECT 1", r"10-t\.sql: name it 10_relation\.sql"),
    ],
)
def test_a_wrong_statement_is_refused_by_file_and_line(place, name, sql, message):
    with pytest.raises(ConfigurationError, match=message):
        place.run(**{name: sql})
    assert sorted(path.name for path in place.folder.iterdir()) == ["repository", "tables"]


def test_two_files_of_one_relation_are_refused(place):
    with pytest.raises(ConfigurationError, match=r"20_T\.sql: 10_t\.sql makes 'T' already; rename one"):
        place.run(n10_t="SELECT 1", n20_T="SELECT 2")


def test_a_repository_without_transforms_is_refused(place):
    with pytest.raises(ConfigurationError, match=r"there is no transforms/\*\.sql; put one SELECT there"):
        place.run()


def test_a_value_that_stops_a_statement_is_named(place):
    with pytest.raises(DataError, match=r"(?s)10_t\.sql: a value stops it: .*'Bern'.*TRY_CAST"):
        place.run(n10_t="SELECT CAST(city AS INTEGER) FROM shops")


@pytest.mark.parametrize("sql", ["SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM glob('/etc/*')"])
def test_sql_sees_no_file_but_the_tables(place, sql):
    with pytest.raises(ConfigurationError, match=r"t\.sql: (Permission|Catalog) Error"):
        place.run(t=sql)


def test_a_truncated_table_is_named(place):
    file = place.folder / "tables" / "shops" / "part-0.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"tables/shops: not whole Parquet .*; run the task that writes it again"):
        place.run(t="SELECT 1")


def test_missing_tables_are_named(place):
    place.run(t="SELECT 1")
    with pytest.raises(DataError, match="no such file or directory; give the path"):
        transform_tables(str(place.folder / "gone"), str(place.folder / "repository"), str(place.output))


def test_what_exceeds_the_memory_goes_to_disk_or_says_so(place, monkeypatch):
    sort = "SELECT range AS id, hash(range)::VARCHAR || repeat('x', 60) AS text FROM range(900_000) ORDER BY text"
    monkeypatch.setattr(logic, "_SETTINGS", logic._SETTINGS | {"memory_limit": "60MB", "threads": 2})
    made = place.run(n10__sorted=sort, n20_ends="SELECT count(*) AS rows, sum(length(text))::BIGINT AS size FROM _sorted")
    (ends,) = made["ends"].to_pylist()
    assert ends["rows"] == 900_000
    assert ends["size"] > 60_000_000
    monkeypatch.setattr(logic, "_SETTINGS", logic._SETTINGS | {"memory_limit": "10MB"})
    with pytest.raises(MachineError, match=r"20_t\.sql: it needs more memory than there is"):
        place.run(n20_t=sort)


def test_a_full_disk_leaves_nothing_half_written_and_the_earlier_output_whole(place):
    place.run(kept="SELECT 1 AS one")
    (place.folder / "repository" / "transforms" / "big.sql").write_text("SELECT hash(range) AS h FROM range(1_000_000)")
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))\n"
        "from intermodal.components.transform_tables.logic import transform_tables\n"
        "from intermodal.runtime.errors import MachineError\n"
        "try: transform_tables(*sys.argv[1:])\n"
        "except MachineError as error: sys.exit(str(error))\n"
    )
    paths = [str(place.folder / name) for name in ("tables", "repository", "made")]
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, *paths], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert re.search(r"big\.sql: no file in \S+ may be larger than 512 KiB \(File too large\); raise the limit \(ulimit -f\)", done.stderr), (
        done.stderr
    )
    assert [path.name for path in place.output.iterdir()] == ["kept.parquet"]
    assert sorted(path.name for path in place.folder.iterdir()) == ["made", "repository", "tables"]


@pytest.mark.parametrize("left", ["nothing", "one file less", "a file changed"])
@pytest.mark.fault("New data", "a staged feature repository is deleted, in whole or in part, before a scheduled run", "one sentence that says so")
def test_a_staged_repository_that_is_not_whole_is_refused(place, left):
    first = place.folder / "first"
    (first / "transforms").mkdir(parents=True)
    for name in ("1_a", "2_b"):
        (first / "transforms" / f"{name}.sql").write_text("SELECT 1 AS x")
    repository = place.folder / "staged" / tree_hash(first)[:32] / "repository"
    shutil.copytree(first, repository)
    transform_tables(str(place.folder / "tables"), str(repository), str(place.output))
    if left == "nothing":
        shutil.rmtree(repository)
    elif left == "one file less":
        (repository / "transforms" / "2_b.sql").unlink()
    else:
        (repository / "transforms" / "2_b.sql").write_text("SELECT 2 AS x")
    with pytest.raises(DataError, match="were deleted or changed since the run was submitted; submit again"):
        transform_tables(str(place.folder / "tables"), str(repository), str(place.output))


SORT = "SELECT range AS id, hash(range)::VARCHAR || repeat('x', 60) AS text FROM range(900_000) ORDER BY text"


@pytest.mark.fault(
    "Stores", "a full temporary directory, on another disk than the output's, while SQL spills", "the message names the disk that is full"
)
def test_a_full_temporary_directory_is_named_and_not_the_disk_of_the_output(place, monkeypatch, small_disk, temporary):
    temporary(disk := small_disk("temporary", 8))
    monkeypatch.setattr(logic, "_SETTINGS", logic._SETTINGS | {"memory_limit": "60MB", "threads": 2})
    with pytest.raises(MachineError, match=rf"10_t\.sql: no room left in {disk}: its disk, mounted at {disk}, is full .*TMPDIR") as raised:
        place.run(n10_t=SORT)
    assert str(place.output) not in str(raised.value)
    assert not place.output.exists()
    assert list(disk.iterdir()) == []


@pytest.mark.fault("Stores", "a full disk of the output while the temporary directory has room", "the message names the disk that is full")
def test_a_full_disk_of_the_output_is_named(tmp_path, small_disk):
    place = Workplace(small_disk("small", 8))
    place.table("shops", pa.table({"city": ["Bern"]}))
    with pytest.raises(MachineError, match=rf"10_t\.sql: no room left in \S+: its disk, mounted at {place.folder}, is full \(8,192 KiB, ") as raised:
        place.run(n10_t=SORT)
    assert "TMPDIR" not in str(raised.value)
    assert sorted(path.name for path in place.folder.iterdir()) == ["repository", "tables"]


CHAIN = """
import sys
from intermodal.components.ingest_tables.logic import ingest_tables
from intermodal.components.transform_tables.logic import transform_tables
source, out = sys.argv[1:3]
if sys.argv[3] == "ingest":
    split = {"split_table": "", "split_by": "hash", "split_column": "id", "split_parts": {"train": 0.5, "test": 0.5}}
    split |= {"split_end": "", "split_step": "1 day"}
    ingest_tables(sources=[source + "/rows.csv"], **split, fingerprint="", tables_path=out + "/tables")
else:
    transform_tables(out + "/tables", source, out + "/transformed")
"""


@pytest.mark.fault(
    "Stores",
    "kill -9 of ingest_tables and transform_tables, their outputs in a bucket mounted by FUSE",
    "the next task refuses what is half there; a retry gives what an undisturbed run gives",
)
def test_ingest_and_transform_write_to_a_bucket_and_a_part_of_an_output_is_refused(bucket, tmp_path, fault_random, files_of):
    (tmp_path / "transforms").mkdir()
    (tmp_path / "transforms" / "10_train.sql").write_text("SELECT * FROM rows WHERE split = 'train' ORDER BY id")
    (tmp_path / "transforms" / "20_test.sql").write_text("SELECT * FROM rows WHERE split = 'test' ORDER BY id")
    (tmp_path / "rows.csv").write_text("id,size\n" + "".join(f"{n},{n * 7 % 1000}\n" for n in range(50_000)))

    def run(step: str, out: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CHAIN, str(tmp_path), str(out), step]
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, timeout=120, check=False)

    (tmp_path / "disk").mkdir()
    for step in ("ingest", "transform"):
        assert run(step, tmp_path / "disk").returncode == 0
    for step, output in (("ingest", "tables"), ("transform", "transformed")):
        before = bucket.changes
        assert run(step, bucket.path).returncode == 0
        assert files_of(bucket.path / output) == files_of(tmp_path / "disk" / output)
        # The first change makes the directory, the last one says that it is whole.
        bucket.kill_at(fault_random.randint(3, bucket.changes - before))
        assert run(step, bucket.path).returncode == -9
        if output == "tables":
            refused = run("transform", bucket.path)
            assert refused.returncode == 1
            assert f"{bucket.path}/tables: only a part of it was written" in refused.stderr
        else:
            with pytest.raises(DataError, match="only a part of it was written"):
                check_whole(bucket.path / output)
        assert run(step, bucket.path).returncode == 0
        assert files_of(bucket.path / output) == files_of(tmp_path / "disk" / output)
