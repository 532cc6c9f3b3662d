"""Python files of a feature repository: run as modules, whatever they raise said with the file and the line, an exit included."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from intermodal.runtime.errors import ConfigurationError


def load_module(file: Path, name: str = "") -> ModuleType:
    """Run a Python file as a module of its own; it may import its neighbours, and leaves no trace in `sys.modules` or on disk.

    Args:
        file: The file.
        name: Keep the module in `sys.modules` under this name, where types that it makes are looked up. Default: not kept.

    Raises:
        ConfigurationError: It is no Python file, or fails, or calls `sys.exit()`; the message names its line.
    """
    specification = importlib.util.spec_from_file_location(name or f"_feature_repository_{file.stem}", file)
    if specification is None or specification.loader is None:
        raise ConfigurationError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(specification)
    if name:
        sys.modules[name] = module
    with _importable(file.parent):
        try:
            specification.loader.exec_module(module)
        except SystemExit as error:
            raise _exited(f"{file}, line {_line(error, file)}", error) from error
        except Exception as error:  # whatever a user's file raises, say which file
            line = error.lineno if isinstance(error, SyntaxError) else _line(error, file)
            raise ConfigurationError(f"{file}, line {line}: {type(error).__name__}: {error}") from error
    if name:
        sys.modules[name] = module  # its folder's modules were forgotten just now
    return module


@contextmanager
def exit_refused(where: str) -> Iterator[None]:
    """Run a block that calls a user's code, and make an exit in it an error: the task would end as if it were done.

    Args:
        where: The code's name, for the message.

    Raises:
        ConfigurationError: It called `sys.exit()`.
    """
    try:
        yield
    except SystemExit as error:
        raise _exited(where, error) from error


def _exited(where: str, error: SystemExit) -> ConfigurationError:
    code = "" if error.code is None else repr(error.code)
    return ConfigurationError(f"{where}: it calls sys.exit({code}), which would end the task without its outputs; return, or raise an error")


def _line(error: BaseException, file: Path) -> int | None:
    trace, line = error.__traceback__, None
    while trace:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the files of a folder import each other, and leave no trace of it."""
    before, written = set(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = written
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None)
            if origin and Path(origin).parent == folder:
                del sys.modules[name]
