"""The process between the runner and one task: it ends the task, with all that the task started, when the runner stops or dies.

Run as a plain script by a bare interpreter (`python -I -S`, 12 ms); it imports only the standard library, and as little of that as possible.

    launcher.py SCRATCH N STOP_COMMAND... COMMAND...

The first N words after N are a command to run first when the task is ended early. The launcher's standard input is a pipe that only the runner
holds open and never writes to. End of file therefore means that the runner wants to end the task, or is dead: the same for Ctrl-C, SIGTERM and
SIGKILL. A prestarted process (`prestart.server`) forks its launchers instead of running this script, and calls `supervise` itself.

The launcher leads a session, and everything that the task starts belongs to it, through any number of forks and process groups, unless it is
detached on purpose with setsid(2) (`start_new_session=True`), as a server that is meant to outlive its task. So: when the task
ends or must end, the processes of its session are killed, and those with a session of their own stay.

The launcher itself may be killed too, with or without the runner. A watcher, forked from it before the task and in a session of its own, then does
the same in its place; so does the runner, if it lives; and the kernel kills the task's own process, even if all three are dead.
"""

import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # without loading typing, which would cost every task 10 ms
    from collections.abc import Callable
    from typing import NoReturn

TERMINATION_SECONDS = 5.0
STOPPED = 130
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> int:
    """Run the command; return its exit status, 128 plus the signal that killed it, or `STOPPED`."""
    scratch, words, number = sys.argv[1], sys.argv[3:], int(sys.argv[2])
    stop_command, command = words[:number], words[number:]
    return supervise(lambda launcher: become(command, launcher), os.dup(0), scratch, stop_command)


def supervise(begin: "Callable[[int], NoReturn]", runner: int, scratch: str, stop_command: list[str]) -> int:
    """Run a task in a child of this process, which leads a session, and end the session with it.

    Args:
        begin: Called in the child with this process's id; never returns. It calls `follow` first.
        runner: File descriptor; end of file means that the runner wants to end the task, or is dead.
        scratch: Removed when the task is ended early.
        stop_command: Run when the task is ended early.

    Returns:
        As `main`.
    """
    session = os.getpid()
    if select.select([runner], [], [], 0)[0]:
        return STOPPED  # the runner died as it started this
    watcher, held = start_watcher(session, scratch, stop_command)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for each in (signal.SIGCHLD, *_SIGNALS):
        signal.signal(each, lambda *_: None)
    task = os.fork()
    if task == 0:
        signal.set_wakeup_fd(-1)
        for descriptor in (woken, wake, held):
            os.close(descriptor)
        begin(session)
    status = wait(task, runner, woken)
    if status is None:
        run(stop_command)
    end_session(session, TERMINATION_SECONDS)
    if status is None:
        os.waitpid(task, os.WNOHANG)
        remove(scratch)
    os.kill(watcher, signal.SIGKILL)
    os.waitpid(watcher, 0)
    return STOPPED if status is None else status


def follow(launcher: int) -> bool:
    """Make the kernel kill this process when the launcher, its parent, dies; return False when that is dead already."""
    import ctypes  # not in the launcher itself, which waits for nothing

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == launcher


def become(command: list[str], launcher: int) -> "NoReturn":
    """Become the task: a process that the kernel kills when the launcher dies."""
    try:
        if follow(launcher):
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for each in (signal.SIGPIPE, signal.SIGCHLD, *_SIGNALS):
                signal.signal(each, signal.SIG_DFL)
            os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def start_watcher(session: int, scratch: str, stop_command: list[str]) -> tuple[int, int]:
    """Fork a process that ends the session when the launcher dies; a launcher that ends by itself kills it first.

    Returns:
        Its process id, and the file descriptor whose closing wakes it: the task must not keep a copy.
    """
    watched, held = os.pipe()
    watcher = os.fork()
    if watcher:
        os.close(watched)
        return watcher, held
    try:
        os.setsid()
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.close(held)
        os.read(watched, 1)
        run(stop_command)
        end_session(session, 0.0)
        remove(scratch)
    finally:
        os._exit(0)


def run(command: list[str]) -> None:
    """Run a command, if there is one, to its end."""
    if command:
        os.waitpid(os.posix_spawnp(command[0], command, os.environ), 0)


def remove(folder: str) -> None:
    """Remove a folder, as far as possible."""
    import shutil  # only here: it would cost every task 10 ms

    shutil.rmtree(folder, ignore_errors=True)


def wait(task: int, runner: int, woken: int) -> int | None:
    """Return the task's exit status, or None when it is to be stopped."""
    while True:
        readable, _, _ = select.select([runner, woken], [], [])
        if woken in readable:
            signals = os.read(woken, 4096)
            pid, status = os.waitpid(task, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if any(number != signal.SIGCHLD for number in signals):
                return None
        if runner in readable:
            return None


def end_session(session: int, patience: float) -> None:
    """Terminate, then kill, every other process of a session.

    Args:
        session: The session's number: the process id of its leader.
        patience: Seconds between the two; 0: they are killed at once.
    """
    deadline = time.monotonic() + patience
    asked: set[int] = set()
    while left := session_members(session):
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for pid in left:
            if number == signal.SIGKILL or pid not in asked:
                asked.add(pid)
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
        time.sleep(0.02)


def session_members(session: int) -> list[int]:
    """Return the living processes of a session, without its leader."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit() or int(name) == session:
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # The command's name, in parentheses, may contain anything: count from its end. Then: state, parent, group, session.
                state, _, _, belongs = file.read().rpartition(b")")[2].split()[:4]
        except OSError:
            continue
        if int(belongs) == session and state not in (b"Z", b"X"):
            found.append(int(name))
    return found


if __name__ == "__main__":
    sys.exit(main())
