"""What a setting, a checkpoint or a file of data may name as code: the check that precedes every import by name.

A class path in a YAML file or in the recipe of a checkpoint is an instruction to import a module and to call what is
in it. Files of strangers must not choose which code runs, so only :data:`ALLOWED` packages can be named, without the
parts in :data:`REFUSED`. :func:`allow` adds a module of the user's own, for ``--allow-class``.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

VARIABLE = "PLUMBLINE_ALLOW_CLASS"
"""Environment variable with further modules, separated by commas; ``*`` allows everything."""

OWN = (
    "lightning_modules",
    "datamodules",
    "networks",
    "losses",
    "metrics",
    "renderers",
    "geometry",
    "structures",
)
OTHERS = ("torch", "lightning", "torchmetrics", "timm", "segmentation_models_pytorch", "transformers")

ALLOWED = frozenset(
    {
        *OWN,
        "torch.nn",
        "torch.optim",
        "torch.utils.data",
        "torch.distributed.fsdp",
        "torch.device",
        "torch.dtype",
        "lightning.pytorch",
        "lightning.fabric",
        "torchmetrics",
        "timm",
        "segmentation_models_pytorch",
        "transformers",
    }
)
"""Packages, modules and classes that may be named."""

REFUSED = frozenset(
    {
        "datamodules.rooms.make_store",  # starts processes
        "datamodules.rooms.worker",
        "lightning_modules.command_line",
        "lightning_modules.runs",  # removes and renames folders
        "networks.torchscript",  # executes the code in a file
        "structures.allowed_imports",
        "structures.private_names",
        "lightning.fabric.utilities",
        "lightning.pytorch.loggers.comet",  # these send data, and a key, to an address in the settings
        "lightning.pytorch.loggers.litlogger",
        "lightning.pytorch.loggers.mlflow",
        "lightning.pytorch.loggers.neptune",
        "lightning.pytorch.loggers.wandb",
        "lightning.pytorch.utilities",
        "timm.models._hub",
        "transformers.dynamic_module_utils",
    }
)
"""Parts of the allowed packages that may not be named."""

FUNCTIONS = frozenset(
    {
        "datamodules.rooms.frame",
        "geometry",
        "lightning_modules.schedules",
        "losses",
        "metrics",
        "renderers",
        "torch.distributed.fsdp.wrap",
        "torch.nn.functional",
    }
)
"""Modules whose functions may be the value of a setting; of all others only classes may be named."""

_added: set[str] = set()


class ImportRefusedError(ValueError):
    """A name may not be imported on the word of a file; the message is one sentence."""


def allow(name: str) -> None:
    """Allow a package, module or class of the user's own, with its functions, in this process and those it starts.

    Args:
        name: Dotted name, or ``*`` for everything.

    Raises:
        ValueError: If it is neither.
    """
    if name != "*" and not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"{name!r} is not the name of a module, such as my_module or my_package.my_module")
    _added.add(name)
    os.environ[VARIABLE] = ",".join(sorted({*_of_environment(), name}))


@contextmanager
def allowing(*names: str) -> Iterator[None]:
    """Allow some names inside of the block."""
    before, variable = set(_added), os.environ.get(VARIABLE)
    try:
        for name in names:
            allow(name)
        yield
    finally:
        _added.clear()
        _added.update(before)
        os.environ.pop(VARIABLE, None)
        if variable is not None:
            os.environ[VARIABLE] = variable


def added() -> frozenset[str]:
    """The names that the user has allowed; ``*`` stands for everything."""
    return frozenset(_added) | _of_environment()


def verdicts() -> dict[str, bool]:
    """Whether each listed name may be imported; ``*`` stands for all names that are not listed.

    The longest listed prefix of a path decides. Empty if everything is allowed.
    """
    own = added()
    if "*" in own:
        return {}
    return {"*": False, **dict.fromkeys(ALLOWED, True), **dict.fromkeys(REFUSED, False), **dict.fromkeys(own, True)}


def may_import(path: str) -> bool:
    """Whether a dotted path may be imported; its longest listed prefix decides."""
    listed = verdicts()
    return next((listed[prefix] for prefix in _prefixes(path) if prefix in listed), not listed)


def may_call(path: str) -> bool:
    """Whether a function may be the value of a setting, by the dotted path of its definition."""
    own = added()
    return may_import(path) and ("*" in own or _covered(path, own) or _covered(path, FUNCTIONS))


def check_import(path: str) -> None:
    """Make sure that a dotted path may be imported, without importing anything.

    Raises:
        ImportRefusedError: If it may not; the message says how to allow a module of one's own.
    """
    if may_import(path):
        return
    top = path.split(".")[0]
    if top in (*OWN, *OTHERS):
        raise ImportRefusedError(
            f"{path!r} is in a part of {top} that settings and checkpoints may not name; if you know who wrote them, "
            f"--allow-class {path} allows it"
        )
    own = (
        "" if top in sys.stdlib_module_names else f"; if '{top}' is a module of your own, --allow-class {top} allows it"
    )
    raise ImportRefusedError(
        f"{path!r} is not in {', '.join(OWN[:3])}, {', '.join(OTHERS[:-1])} or {OTHERS[-1]}, so it is not imported{own}"
    )


def check_function(path: str) -> None:
    """Make sure that a function may be the value of a setting.

    Raises:
        ImportRefusedError: If it may not.
    """
    check_import(path)
    if not may_call(path):
        raise ImportRefusedError(
            f"{path!r} is a function, but settings and checkpoints may only name classes, and functions of "
            f"{', '.join(sorted(FUNCTIONS))}; if you know who wrote them, --allow-class {path} allows it"
        )


def _of_environment() -> frozenset[str]:
    return frozenset(name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip())


def _covered(path: str, names: Iterable[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in names)


def _prefixes(path: str) -> Iterator[str]:
    """The path and its parents, the longest first."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        yield ".".join(parts[:count])
