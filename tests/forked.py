"""Actions in a process of their own, forked from the test's, which a kill or a full disk may end."""

import os
import traceback
from collections.abc import Callable


def in_a_process(action: Callable[[], object]) -> int:
    """Do something in a process forked from this one with all that it has imported; return its status, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
