"""Run a function in two processes that can communicate (gloo, CPU)."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

WORLD_SIZE = 2


def _work(function: Callable[..., Any], rank: int, meeting_point: str, results: Connection, arguments: tuple) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=WORLD_SIZE)
    results.send(function(rank, *arguments))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def in_two_processes(function: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """Results of ``function(rank, *arguments)`` of ranks 0 and 1; it must be importable, its results plain numbers."""
    context = multiprocessing.get_context("spawn")
    meeting_point = f"file://{folder / 'meeting_point'}"
    workers, ends = [], []
    for rank in range(WORLD_SIZE):
        end, other = context.Pipe(duplex=False)
        workers.append(context.Process(target=_work, args=(function, rank, meeting_point, other, arguments)))
        ends.append(end)
    for worker in workers:
        worker.start()
    found = [end.recv() if end.poll(180) else None for end in ends]
    for worker in workers:
        worker.join(30)
        if worker.is_alive():
            worker.kill()
        assert worker.exitcode == 0, f"a process ended with {worker.exitcode}"
    return found
