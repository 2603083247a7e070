"""Selection among the callbacks that draw and write for a task: by name, and where the trainer has one already."""

from collections.abc import Sequence

from lightning.pytorch import Callback


def chosen_callbacks(callbacks: Sequence[Callback], choice: bool | Sequence[str], *, paper: str) -> list[Callback]:
    """Callbacks of a task that a run uses.

    Args:
        callbacks: All callbacks of the task.
        choice: True for all, False for none, or the names of their classes.
        paper: Name of the paper, for the message.

    Raises:
        ValueError: If a name is not that of one of the callbacks.
    """
    if isinstance(choice, bool):
        return list(callbacks) if choice else []
    names = [type(callback).__name__ for callback in callbacks]
    unknown = [name for name in choice if name not in names]
    if unknown:
        known = f"has {', '.join(names)}" if names else "has none"
        raise ValueError(
            f"task_callbacks names '{unknown[0]}', but {paper} {known}: give true, false or some of these names, and "
            "put any other callback into trainer.callbacks"
        )
    return [callback for callback, name in zip(callbacks, names, strict=True) if name in choice]


def without_replaced(callbacks: Sequence[Callback], given: Sequence[Callback]) -> list[Callback]:
    """Callbacks of a task that the trainer has no replacement for.

    A given callback replaces one of its own class, of a base and of a derived class. Lightning itself would remove a
    given callback if a module returned one of its class or of a derived class.

    Args:
        callbacks: Callbacks of the task.
        given: Callbacks of the trainer.
    """
    plain = [callback for callback in given if type(callback) is not Callback]  # the base of all replaces none
    return [
        callback
        for callback in callbacks
        if not any(isinstance(other, type(callback)) or isinstance(callback, type(other)) for other in plain)
    ]
