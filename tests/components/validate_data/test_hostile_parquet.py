"""Parquet from strangers: a type that brings a pickle runs nothing, wherever in the file it stands and whoever opens it."""

import pickle
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.runtime.errors import DataError

#: PyArrow before 14 makes such a type by unpickling it; later ones read the column as what it is stored as.
UNPICKLES = int(pa.__version__.partition(".")[0]) < 14


class Program:
    """Unpickled, makes a file."""

    def __init__(self, made):
        self._made = made

    def __reduce__(self):
        return (open, (str(self._made), "w"))


def hostile(made, where):
    """Return a table of the usual columns, one of them of a type that is a pickle: by itself, or inside a list."""
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Program(made))}
    label = pa.field("label", pa.int64(), metadata=metadata if where == "label" else None)
    inner = pa.field("item", pa.int64(), metadata=metadata if where == "list" else None)
    rows = {"size": [1.0, 2.0] * 50, "label": [0, 1] * 50, "many": [[1], [2]] * 50}
    schema = pa.schema([pa.field("size", pa.float64()), label, pa.field("many", pa.list_(inner))])
    return pa.table([pa.array(rows[each.name], each.type) for each in schema], schema=schema)


@pytest.mark.fault(
    "Nobody in", "validate_data alone reads Parquet whose column type is a pickle", "the pickle is not run; one sentence names the file"
)
@pytest.mark.parametrize("where", ["label", "list"])
@pytest.mark.parametrize("ignored", [[], ["label", "many"]], ids=["read", "ignored"])
def test_a_pickle_in_a_columns_type_is_not_run(run, tmp_path, where, ignored):
    pq.write_table(hostile(tmp_path / "ran", where), run.examples / "test" / "1.parquet")
    if UNPICKLES:
        with pytest.raises(DataError, match=r"test/1\.parquet: a column has a type that is a Python pickle") as caught:
            run(ignored=[each for each in ignored if each != "label"])
        assert caught.value.__suppress_context__
        assert str(tmp_path / "ran") not in str(caught.value)
    else:
        run(ignored=["many"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.fault("Nobody in", "a Beam worker opens Parquet whose column type is a pickle", "the pickle is not run")
def test_nor_by_a_worker_of_beam(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for part in run.examples.iterdir():
        (elsewhere / part.name).mkdir(parents=True)
        for file in part.iterdir():
            pq.write_table(hostile(tmp_path / "ran", "label"), elsewhere / part.name / file.name)
    if UNPICKLES:
        with pytest.raises(Exception, match="a column has a type that is a Python pickle"):
            run(beam_options=["--runner=DirectRunner"], examples_uri=str(elsewhere))
    assert not (tmp_path / "ran").exists()


def test_the_file_would_run_its_program_without_the_patch(tmp_path):
    """The test above can fail: an interpreter that knows nothing of it runs the program."""
    pq.write_table(hostile(tmp_path / "ran", "label"), tmp_path / "a.parquet")
    subprocess.run([sys.executable, "-c", f"import pyarrow.parquet as pq; pq.ParquetFile({str(tmp_path / 'a.parquet')!r})"], check=False, timeout=60)
    assert (tmp_path / "ran").exists() == UNPICKLES


def test_whoever_imports_the_reader_is_patched(tmp_path):
    """A worker imports the reading functions alone, in an interpreter of its own."""
    file = tmp_path / "a.parquet"
    pq.write_table(hostile(tmp_path / "ran", "label"), file)
    code = f"import pathlib, intermodal.components.validate_data.statistics.streaming as reader; reader.row_groups(pathlib.Path({str(file)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "Python pickle" in done.stderr) == ((1, True) if UNPICKLES else (0, False)), done.stderr
    assert not (tmp_path / "ran").exists()
