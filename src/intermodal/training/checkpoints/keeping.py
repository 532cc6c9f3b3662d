"""Checkpoints of a training: one file each, named after its step and the hash of its content, in a folder or an object store.

A file appears whole: in a folder by a rename, in an object store by one put. Nothing is overwritten but by equal content, so two processes may write
at once: an attempt that lives on after another has taken over does no harm. The steps of a training are the same in every attempt (the order of the
rows is a function of the seed and the step), so a later step of an older attempt is as good as one's own: the highest step is the newest.
"""

import errno
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from intermodal.runtime.errors import ConfigurationError, IntermodalError, MachineError
from intermodal.training.checkpoints.files import GoneError, Name, digest_of, open_place

_FORMAT: Final = 1
_HEADER: Final = "header"
_LISTINGS: Final = 5
_WORTH_SAYING_SECONDS: Final = 1.0
_DIFFERENCES_SHOWN: Final = 3

Arrays = dict[str, np.ndarray]


class Checkpoints:
    """The checkpoints of one training, which one process, the chief, writes and reads.

    Not for several workers at once: what is the newest may change between two listings, so the chief reads, and hands on what it has read. As a
    context manager it waits for the last write; an error of the block goes before one of that write.

    Args:
        where: A folder, or a place in an object store: ``gs://``, ``s3://`` or ``minio://``. It must outlive the attempt. An S3-compatible store that
            is not AWS is named by the environment, ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL``.
        keep: How many to keep, at least 1. An older one goes only after a newer whole one is there.
        identity: What must be equal for a checkpoint to be resumed (model, rows, hyperparameters, seed): JSON.
        may_differ: What is only said when it differs (number of workers, versions): JSON.

    Attributes:
        last: Address of the newest checkpoint that this process has written, or None.
        waited: Seconds for which `save` waited for the write before, in all.

    Raises:
        ConfigurationError: `keep` is below 1, `where` is of another scheme or a folder that cannot be written to, or its store is not known.
        MachineError: The disk is full.
        PlatformError: There are no credentials for the store.
    """

    def __init__(self, where: str, keep: int, identity: Mapping[str, Any], may_differ: Mapping[str, Any] | None = None) -> None:
        if keep < 1:
            raise ConfigurationError(f"{where}: {keep} checkpoints cannot be kept; keep at least 1")
        self.last: str | None = None
        self.waited = 0.0
        self._keep = keep
        self._identity: dict[str, Any] = _as_json(identity)
        self._may_differ: dict[str, Any] = _as_json(may_differ or {})
        self._place = open_place(where)
        self._broken: set[Name] = set()
        self._write: _Write | None = None
        self._slow_was_said = False

    def save(self, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Copy the arrays and write them in a thread; wait first for the write before, if it has not ended.

        Memory holds one copy of the arrays while they are written.

        Args:
            step: Steps made so far.
            arrays: By any name, of any type but Python objects.
            state: What else a training is resumed from: JSON; NaN and infinities may be in it.

        Raises:
            IntermodalError: The write before failed: a full disk or a folder that is gone (`MachineError`), the store (`PlatformError`).
            TypeError: An array holds Python objects, or the state is not JSON.
        """
        self._wait_for_write()
        copies = {name: np.array(value, order="C") for name, value in arrays.items()}
        if odd := [name for name, value in copies.items() if value.dtype.hasobject]:
            raise TypeError(f"{odd[0]}: an array of Python objects cannot be in a checkpoint")
        content = {
            "format": _FORMAT,
            "step": step,
            "identity": self._identity,
            "may_differ": self._may_differ,
            "arrays": [[name, value.dtype.name] for name, value in copies.items()],
            "state": dict(state),
        }
        header, values = json.dumps(content).encode(), list(copies.values())
        self._write = _Write(step, self._place.where, lambda: self._write_one(step, header, values))

    def newest(self) -> tuple[Arrays, dict[str, Any]] | None:
        """Return the arrays and the state of the newest whole checkpoint, or None where there is none.

        One whose content has not the hash of its name is said in a line and passed over. A store that does not answer is an error: it is not known to
        be empty.

        Raises:
            ConfigurationError: The newest is of another training: its identity differs.
            MachineError: It cannot be read.
            PlatformError: The store cannot be reached or refuses.
        """
        self._end_write()
        for _ in range(_LISTINGS):
            try:
                return self._newest()
            except GoneError:
                continue  # another process has removed it, for it wrote a newer one
        raise MachineError(f"{self._place.where}: checkpoints disappear while they are read; stop the other training that writes there")

    def close(self) -> None:
        """Wait for the write that is under way.

        Raises:
            IntermodalError: It failed; see `save`.
        """
        self._end_write()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self.close()
        except IntermodalError as failed:
            if error is None:
                raise
            _say(str(failed))

    def _wait_for_write(self) -> None:
        before, began = self._write, time.monotonic()
        self._end_write()
        waited = time.monotonic() - began
        self.waited += waited
        if before and waited >= _WORTH_SAYING_SECONDS and not self._slow_was_said:
            self._slow_was_said = True
            _say(
                f"checkpoints: to write the one of step {before.step} to {self._place.where} took {before.seconds:.1f} s, and training waited "
                f"{waited:.1f} s of them; save less often"
            )

    def _end_write(self) -> None:
        write, self._write = self._write, None
        if write is not None:
            self.last = self._place.where_is(write.end())

    def _newest(self) -> tuple[Arrays, dict[str, Any]] | None:
        for name in sorted(self._place.names() - self._broken, reverse=True):
            place = self._place.where_is(name)
            with self._place.content(name) as path:
                if (damage := _damage(path, name)) is None:
                    header, arrays = _read(path, place)
                    self._check(header, place)
                    for note in self._remove_older(name):  # what a process left that was killed before it did
                        _say(note)
                    return arrays, header["state"]
            self._broken.add(name)
            _say(f"{place}: this checkpoint is passed over, for {damage}; the one before is taken")
        return None

    def _check(self, header: dict[str, Any], place: str) -> None:
        """Refuse another training's checkpoint, and say what this one is."""
        if different := _differences(self._identity, header["identity"]):
            raise ConfigurationError(
                f"{place}: this is a checkpoint of another training: {different}; give this training a place of its own, or delete the checkpoints "
                "there to start anew"
            )
        said = f"checkpoints: training goes on after step {header['step']}, from {place}"
        if different := _differences(self._may_differ, header["may_differ"]):
            said += f"; {different}: the result is the same within rounding, not bit by bit"
        _say(said)

    def _write_one(self, step: int, header: bytes, arrays: list[np.ndarray]) -> tuple[Name, list[str]]:
        """Write one checkpoint and remove those that are too many; return its name and what is to be said. Runs in the thread."""
        with self._place.scratch(step) as (path, publish):
            content = {_HEADER: np.frombuffer(header, np.uint8)} | {str(index): value for index, value in enumerate(arrays)}
            with path.open("wb") as file:
                np.savez(file, **content)
            name = Name(step, digest_of(path))
            publish(name)
        self._broken.discard(name)
        return name, self._remove_older(name)

    def _remove_older(self, whole_one: Name) -> list[str]:
        # Only what is older than a checkpoint known to be whole: a later one, of another attempt, may be broken.
        try:
            older = sorted((each for each in self._place.names() - {whole_one} if each.step <= whole_one.step), reverse=True)
            whole = [each for each in older if each not in self._broken]
            for each in {*older} - {*whole[: self._keep - 1]}:
                self._place.delete(each)
                self._broken.discard(each)
        except (OSError, IntermodalError) as error:
            return [f"{self._place.where}: older checkpoints could not be removed ({error}); remove them by hand"]
        return []


class _Write:
    """One checkpoint on its way, in a thread."""

    def __init__(self, step: int, where: str, write: Callable[[], tuple[Name, list[str]]]) -> None:
        self.step = step
        self.seconds = 0.0
        self._where, self._write = where, write
        self._name: Name | None = None
        self._notes: list[str] = []
        self._error: Exception | None = None
        # Not a daemon: an interpreter that ends lets it finish.
        self._thread = threading.Thread(target=self._run, name=f"checkpoint-{step}")
        self._thread.start()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            self._name, self._notes = self._write()
        except Exception as error:
            self._error = error
        self.seconds = time.monotonic() - began

    def end(self) -> Name:
        """Wait; say what is to be said, raise what went wrong; return the checkpoint's name."""
        self._thread.join()
        for note in self._notes:
            _say(note)
        failed = f"the checkpoint of step {self.step} was not written to {self._where}"
        if isinstance(self._error, IntermodalError):
            raise type(self._error)(f"{failed}: {self._error}") from self._error
        if isinstance(self._error, OSError):
            raise MachineError(f"{failed} ({self._error}); make the folder writable and run again: those written before are whole") from self._error
        if self._error is not None:
            raise self._error
        assert self._name is not None
        return self._name


def _damage(path: Path, name: Name) -> str | None:
    """Return what is wrong with a file, or None.

    Raises:
        GoneError: It is not there.
        MachineError: It may not be read.
    """
    try:
        found = digest_of(path)
    except PermissionError as error:
        raise MachineError(f"{path}: this checkpoint cannot be read ({error.strerror}); correct its permissions") from error
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            raise GoneError from error
        return f"it cannot be read ({error.strerror})"
    return None if found == name.digest else f"its content has the hash {found}"


def _read(path: Path, place: str) -> tuple[dict[str, Any], Arrays]:
    """Read a file that is whole: its header and its arrays.

    Raises:
        ConfigurationError: Another version of this module wrote it.
        GoneError: It is not there any more.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header: dict[str, Any] = json.loads(file[_HEADER].tobytes())
            if header["format"] != _FORMAT:
                raise ConfigurationError(
                    f"{place}: this checkpoint's format is {header['format']}, and this version reads {_FORMAT}; resume with the version that wrote "
                    "it, or delete it"
                )
            return header, {name: _typed(file[str(index)], kind) for index, (name, kind) in enumerate(header["arrays"])}
    except FileNotFoundError as error:
        raise GoneError from error


def _typed(value: np.ndarray, kind: str) -> np.ndarray:
    """Return an array of a type that NumPy's files do not know (bfloat16, float8) as what it was."""
    if value.dtype.name == kind:
        return value
    import ml_dtypes  # TensorFlow and JAX bring it

    return value.view(getattr(ml_dtypes, kind))


def _as_json(value: Mapping[str, Any]) -> Any:
    """Return a value as it is when it was written and read again, to be compared: tuples are lists, keys are texts."""
    return json.loads(json.dumps(dict(value)))


def _differences(here: dict[str, Any], there: dict[str, Any]) -> str:
    """Return in words what differs between two JSON values, or an empty text."""
    mine, other = dict(_flat(here)), dict(_flat(there))
    words = [
        f"{key} is {mine.get(key, 'not given')} here and {other.get(key, 'not given')} there"
        for key in sorted({*mine, *other})
        if mine.get(key) != other.get(key)
    ]
    more = len(words) - _DIFFERENCES_SHOWN
    return ", ".join(words[:_DIFFERENCES_SHOWN]) + (f", and {more} more" if more > 0 else "")


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of nested JSON by dotted key, as JSON."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _flat(each, f"{key}.{name}" if key else name)
    elif key:
        yield key, json.dumps(value)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
