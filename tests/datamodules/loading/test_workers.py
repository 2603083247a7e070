"""Signals to loader workers."""

import os
import signal
import time

import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.loading.workers import start_worker


class Processes(Dataset):
    """The number of the process that reads a sample, slowly."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        time.sleep(0.02)
        return os.getpid()


def loader():
    return DataLoader(Processes(), batch_size=2, num_workers=2, worker_init_fn=start_worker)


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_outlive_signals_to_all_processes_of_a_job():
    # Sent by another process than the parent, as a scheduler does.
    batches, seen = iter(loader()), set()
    first = next(batches)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        sender = os.fork()
        if sender == 0:
            for process in set(first.tolist()):
                os.kill(process, number)
            os._exit(0)
        os.waitpid(sender, 0)
    for batch in batches:
        seen |= set(batch.tolist())
    assert len(seen) == 2
    assert set(first.tolist()) <= seen
    del batches
    deadline = time.monotonic() + 10
    while any(map(is_running, seen)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, seen))


def test_their_parent_ends_them():
    batches = iter(loader())
    worker = int(next(batches)[0])
    batches._workers[0].terminate()
    batches._workers[0].join(timeout=10)
    assert batches._workers[0].exitcode in (0, 1)
    assert isinstance(worker, int)
    assert torch.initial_seed() >= 0
