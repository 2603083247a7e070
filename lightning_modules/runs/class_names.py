"""Class names of a network, stored in its checkpoint for prediction on images without classes."""

from collections.abc import Mapping
from typing import Any

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
