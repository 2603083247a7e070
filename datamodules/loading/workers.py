"""Start of a worker process of a data loader."""

import os
import signal
import threading

import cv2


def start_worker(_worker_id: int) -> None:
    """Disable OpenCV's thread pool in a worker process, and leave signals to the process that started it.

    A scheduler signals all processes of a job. A worker that ended then would make its loader raise an error at any
    place of the training, e.g. while it saves. Ctrl-C and SIGUSR1 are ignored; SIGTERM ends the worker only if its
    parent sends it. A worker whose parent has ended ends by itself.
    """
    cv2.setNumThreads(0)
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # threads that start later inherit it
    threading.Thread(target=_end_with_parent, daemon=True, name="worker-signals").start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
