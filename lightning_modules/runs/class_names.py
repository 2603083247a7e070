"""Class names of a network, stored in its checkpoint for prediction on images without classes."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_modules.runs.loading import RECIPE_KEY

NAMES_KEY = "class_names"
IDS_KEY = "category_ids"


class NamedClasses:
    """Mixin of modules that predict classes: the names and ids of the classes from a checkpoint.

    Attributes:
        class_names: Name of label k at k - 1, or None without a checkpoint or names in it.
        category_ids: The data set's own id of label k at k - 1, or None.
    """

    class_names: list[str] | None = None
    category_ids: list[int] | None = None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read the names and ids from a checkpoint."""
        recipe = checkpoint.get(RECIPE_KEY)
        if isinstance(recipe, Mapping):
            names, ids = recipe.get(NAMES_KEY), recipe.get(IDS_KEY)
            self.class_names = None if names is None else [str(name) for name in names]
            self.category_ids = None if ids is None else [int(number) for number in ids]

    def on_validation_start(self) -> None:
        """Compare the classes of the checkpoint with those of the data; see :func:`check_classes`."""
        self._check_classes()

    def on_test_start(self) -> None:
        """Compare the classes of the checkpoint with those of the data; see :func:`check_classes`."""
        self._check_classes()

    def _check_classes(self) -> None:
        trainer = getattr(self, "trainer", None)
        check_classes(getattr(trainer, "datamodule", None), self)


def class_table(data: object, module: object) -> dict[str, list[str] | list[int]]:
    """Names and ids of the classes of a data module, for the checkpoint of a module that predicts classes.

    Args:
        data: A data module; attributes that it lacks are left out.
        module: The module trained on it; empty unless it is a :class:`NamedClasses`.

    Returns:
        Plain values under ``NAMES_KEY`` and ``IDS_KEY``: those of the data or, if it has none or another number of
        them, those that the module read from its own checkpoint.
    """
    if not isinstance(module, NamedClasses):
        return {}
    count = getattr(module, "n_classes", None)
    table: dict[str, list[str] | list[int]] = {}
    for key in (NAMES_KEY, IDS_KEY):
        of_data = getattr(data, key, None)
        values = of_data if of_data is not None and len(of_data) == count else getattr(module, key)
        if values is not None:
            table[key] = list(values)
    return table


def check_classes(data: object, module: object) -> None:
    """Compare the classes that a network was trained on with those that it is evaluated on.

    Scores match classes by their numbers alone, so that other classes under the same numbers give wrong scores. Where
    one of both has no names, nothing is compared but the number of classes.

    Args:
        data: A data module.
        module: A module that predicts classes; others are accepted.

    Raises:
        ValueError: If the numbers of classes differ, or the data have the same names in another order.
    """
    if not isinstance(module, NamedClasses):
        return
    count, of_data = getattr(module, "n_classes", None), getattr(data, "n_classes", None)
    if None not in (count, of_data) and count != of_data:
        raise ValueError(f"the network predicts {count} classes, but the data have {of_data}")
    trained, present = module.class_names, getattr(data, NAMES_KEY, None)
    if trained is None or present is None or len(trained) != len(present) or list(trained) == list(present):
        return
    number = next(k for k, (one, other) in enumerate(zip(trained, present, strict=True)) if one != other)
    differing = (
        f"class {number + 1} is '{trained[number]}' for the network, but '{present[number]}' in the data "
        f"{type(data).__name__}"
    )
    if sorted(trained) == sorted(present):
        raise ValueError(
            f"{differing}: they have the same classes in another order; number them as in the training data"
        )
    rank_zero_warn(f"{differing}. Scores match classes by their numbers alone.")
