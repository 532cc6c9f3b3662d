"""Which files a Dataset artifact has, by split, and whether each is Parquet or CSV, told by its content."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from intermodal.runtime.errors import DataError
from intermodal.runtime.tree import PARTIAL, check_name, check_whole, content_hash, walk

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_ORDER: Final = (TRAIN, VALIDATION, TEST)
_SUFFIXES: Final = (".parquet", ".pq", ".csv")
#: How `ingest_tables` names the folder of a part.
_SPLIT: Final = "split="
#: The name of a table that is one file without a suffix.
_UNNAMED: Final = "data"
#: What `ingest_tables` writes beside its tables.
_MANIFEST: Final = "manifest.json"
#: How much of a file is looked at to tell what it is.
_HEAD: Final = 4096
_OTHERS: Final = {
    b"PARE": "encrypted Parquet",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a zip archive",
    b"ARROW1": "Arrow IPC",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"{": "JSON",
    b"[": "JSON",
}
_REMEDY: Final = "write Parquet or CSV (UTF-8, with a header), or read it with ingest_tables, which also takes zip, gzip and other encodings"


@dataclass(frozen=True)
class DataFile:
    """One file of a dataset.

    Attributes:
        path: Where it is.
        kind: `parquet` or `csv`.
    """

    path: Path
    kind: str

    @property
    def name(self) -> str:
        """Its path, for messages."""
        return str(self.path)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open its content."""
        with self.path.open("rb") as content:
            yield content


def find_splits(path: Path) -> dict[str, list[DataFile]]:
    """Return the files of each split: `train`, `validation` and `test` first, then others by name; all as `train` where there are no splits.

    A path is a file; a directory of files, in which names that begin with `.` or `_`, and other kinds of file, are passed over; or a directory with
    one directory a split, called by its name (or `split=` and its name, as `ingest_tables` writes them). What `ingest_tables` wrote of one table
    counts as that table.

    Raises:
        DataError: There is nothing there, a part of it was not written, it holds no table or several, or a file is neither Parquet nor CSV.
    """
    if path.is_file():
        return {TRAIN: [DataFile(path, _kind(path))]}
    path = _only_table(_whole_directory(path))
    loose, folders = _files(path)
    splits = {name.removeprefix(_SPLIT): _parts(files) for name, files in folders.items()}
    splits = {name: files for name, files in splits.items() if files}
    files = _parts(loose)
    if files and splits:
        raise DataError(f"{path}: it holds the file {files[0].path.name} and the folder {next(iter(folders))}; keep the files, or folders of splits")
    if not files and not splits:
        raise DataError(f"{path}: it holds no Parquet or CSV file, but {', '.join([*loose, *folders][:5]) or 'nothing'}; {_REMEDY}")
    if partition := next((name for name in folders if "=" in name and not name.startswith(_SPLIT)), None):
        raise DataError(f"{path}: the folder {partition} is a partition, whose column is in no file; write the column into the files")
    if files:
        return {TRAIN: files}
    return {name: splits[name] for name in sorted(splits, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))}


def find_tables(path: Path) -> dict[str, dict[str, list[DataFile]]]:
    """Return the files of each table of a directory of tables, by table and part; the part is empty where a table has none.

    A file `sales.parquet` or `sales.csv`, or a folder `sales` of such files, is the table `sales`; folders `split=train` in it are its parts. A
    single file is the table of its name; one without a suffix, as Kubeflow Pipelines names artifacts, is the table `data`.

    Raises:
        DataError: There is nothing there, a part of it was not written, two tables have one name, or a file is neither Parquet nor CSV.
    """
    if path.is_file():
        return {_table_name(path.name) if path.suffix else _UNNAMED: {"": [DataFile(path, _kind(path))]}}
    loose, folders = _files(_whole_directory(path))
    found: dict[str, dict[str, list[DataFile]]] = {}
    for file in _candidates(loose):
        _add(path, found, _table_name(file.name), {"": [DataFile(file, _kind(file))]})
    for name, files in folders.items():
        divided: dict[str, dict[str, Path]] = {}
        for inside, file in files.items():
            folder = inside.split("/")[1]
            divided.setdefault(folder.removeprefix(_SPLIT) if folder.startswith(_SPLIT) else "", {})[inside] = file
        parts = {part: listed for part, each in divided.items() if (listed := _parts(each))}
        if parts:
            _add(path, found, name, dict(sorted(parts.items())))
    return dict(sorted(found.items()))


def _add(path: Path, found: dict[str, dict[str, list[DataFile]]], name: str, parts: dict[str, list[DataFile]]) -> None:
    if clash := next((other for other in found if other.casefold() == name.casefold()), None):
        raise DataError(f"{path}: two files or folders are the table {clash!r} (SQL does not tell upper from lower case); rename one")
    found[name] = parts


def _table_name(file: str) -> str:
    suffix = next((each for each in _SUFFIXES if file.lower().endswith(each)), Path(file).suffix)
    return file.removesuffix(file[len(file) - len(suffix) :]) if suffix else file


def _whole_directory(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"{path}: no such file or directory; give the path of a Parquet or CSV file, or of a directory of them")
    check_whole(path)
    return path


def _files(path: Path) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
    """Return the files in a directory, and those below each of its folders, without hidden ones and those set aside."""
    loose: dict[str, Path] = {}
    folders: dict[str, dict[str, Path]] = {}
    for name, found in walk(path):
        parts = name.split("/")
        if PARTIAL in parts:
            raise DataError(f"{path}: only a part of it was written (it holds {name}); run the task that writes it again")
        if any(part[0] in "._" for part in parts):
            continue
        if not found.is_file():
            raise DataError(f"{found}: neither a file nor a directory, or a link that leads nowhere; remove it")
        check_name(found, name)
        if len(parts) == 1:
            loose[name] = found
        else:
            folders.setdefault(parts[0], {})[name] = found
    return loose, folders


def _only_table(path: Path) -> Path:
    """Return the folder of the one table where `ingest_tables` wrote the directory, else the directory itself."""
    try:
        tables = list(json.loads((path / _MANIFEST).read_bytes())["tables"])
    except (OSError, ValueError, LookupError, TypeError):
        return path
    if len(tables) > 1:
        raise DataError(f"{path}: it holds {len(tables)} tables ({', '.join(tables[:5])}); a dataset is one: derive it with transform_tables")
    return path / str(tables[0]) if tables and (path / str(tables[0])).is_dir() else path


def _parts(files: dict[str, Path]) -> list[DataFile]:
    """Return those files that hold rows of one table."""
    found = [DataFile(path, _kind(path)) for path in _candidates(files)]
    if len({each.kind for each in found}) > 1:
        csv = next(each.path for each in found if each.kind == "csv")
        raise DataError(f"{csv}: a CSV file beside Parquet files; keep one kind, for both may hold the same rows")
    return found


def _candidates(files: dict[str, Path]) -> list[Path]:
    """Return the files with a table's suffix; where none has one, those without any."""
    return sorted(
        [path for path in files.values() if path.suffix.lower() in _SUFFIXES] or [path for path in files.values() if not path.suffix], key=str
    )


def _kind(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise DataError(f"{path}: this file cannot be read ({error.strerror}); correct its permissions") from error
    if head.startswith(b"PAR1"):
        return "parquet"
    if path.suffix.lower() in (".parquet", ".pq"):
        raise DataError(
            f"{path}: not whole Parquet ({'it is empty' if not head else 'it does not begin with PAR1'}); run the task that writes it again"
        )
    if not head:
        raise DataError(f"{path}: the file is empty; a table needs a header and rows")
    known = next((kind for start, kind in _OTHERS.items() if head.startswith(start)), None)
    if known or b"\0" in head:
        raise DataError(f"{path}: neither Parquet nor CSV{f', but {known}' if known else ''}; {_REMEDY}")
    return "csv"


def examples_hash(path: Path) -> str:
    """Return a hash of what a training reads: of a folder with splits those of `train` and `validation`, in this order, otherwise of all."""
    if (path / TRAIN).is_dir():
        return " ".join(content_hash(path / part) for part in (TRAIN, VALIDATION) if (path / part).is_dir())
    return content_hash(path)
