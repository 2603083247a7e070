"""Whether a process of this machine is running."""

import os


def is_running(process: int) -> bool:
    """Whether a process runs on this machine, under any user.

    Args:
        process: Its number, positive.
    """
    try:
        os.kill(process, 0)  # checks only
    except ProcessLookupError:
        return False
    except OSError:  # it runs under another user
        return True
    return True
