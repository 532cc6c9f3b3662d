"""The process between the runner and one task: it ends the task, with all that the task started, when the runner stops or dies.

Run as a plain script by a bare interpreter (`python -I -S`, 10 ms): the standard library alone, and as little of it as can be.

    launcher.py STOP_COMMAND SCRATCH COMMAND...

Its standard input is a pipe that only the runner holds open and never writes to. End of file therefore means that the runner wants the task
ended or is no more, however it died: one way for Ctrl-C, SIGTERM and SIGKILL alike. STOP_COMMAND is a JSON list to run first in that case.

The launcher leads a session, and everything that the task starts belongs to it, through any number of forks and process groups, unless it is
detached on purpose with setsid(2) (`start_new_session=True`), as a server that is meant to outlive its task. So: whoever is in the session
when the task has ended or must end is killed, whoever has a session of its own stays.
"""

import json
import os
import select
import signal
import sys
import time

TERMINATION_SECONDS = 5.0
STOPPED = 130


def main() -> int:
    """Run the command; return its exit status, 128 plus the signal that killed it, or `STOPPED`."""
    stop_command, scratch, command = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:]
    runner = os.dup(0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    try:
        task = os.posix_spawnp(
            command[0],
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsigdef=[signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP],
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 127
    status = wait(task, runner, woken)
    if status is None and stop_command:
        os.waitpid(os.posix_spawnp(stop_command[0], stop_command, os.environ), 0)
    end_session(task)
    if status is None:
        import shutil  # only here: it would cost every task 10 ms

        shutil.rmtree(scratch, ignore_errors=True)
        return STOPPED
    return status


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


def end_session(task: int) -> None:
    """Terminate, then kill, every other process of this session."""
    deadline = time.monotonic() + TERMINATION_SECONDS
    asked: set[int] = set()
    while left := session_members():
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for pid in left:
            if number == signal.SIGKILL or pid not in asked:
                asked.add(pid)
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
        time.sleep(0.02)
        try:  # noqa: SIM105
            os.waitpid(task, os.WNOHANG)
        except ChildProcessError:
            pass


def session_members() -> list[int]:
    """Return the living processes of this session, without this one."""
    me, found = os.getpid(), []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit() or int(name) == me:
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # The command's name, in parentheses, may hold anything: count from its end. Then: state, parent, group, session.
                state, _, _, session = file.read().rpartition(b")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == me and state not in (b"Z", b"X"):
            found.append(int(name))
    return found


if __name__ == "__main__":
    sys.exit(main())
