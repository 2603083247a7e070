"""What was found while a COCO-format file was read: faults that stop a training, and harmless ones, each counted."""

from dataclasses import dataclass, field
from typing import Any

SHOWN_LETTERS = 60
"""Longest text of a value in a message."""

NOTES = {
    "no_area": ("boxes without area", "left out"),
    "outside": ("boxes outside of their images", "left out"),
    "clipped": ("boxes over the border of their image", "clipped"),
    "like_corners": ("boxes far over the border that would fit as corners x1, y1, x2, y2", "clipped"),
    "first_pixel": ("boxes inside the first pixel, as relative coordinates would be", "kept"),
    "percent": ("all boxes end within 100 pixels of much larger images (percent?)", "kept"),
    "apart": ("boxes that lie apart from their own mask", "kept"),
    "repeated": ("annotations listed twice", "the second left out"),
    "same_id": ("annotations with the id of another one", "kept, as nothing here goes by that id"),
    "area": ("areas that are not above 0", "those of the boxes taken"),
    "flat_polygon": ("polygons that are not inside a list of polygons", "read as one polygon"),
    "box_polygon": ("boxes x, y, width, height in place of polygons", "left out"),
    "thin_polygon": ("polygons with fewer than three corners or without area", "left out"),
    "odd_polygon": ("polygons with a number that is none, or outside of their image", "left out"),
    "empty_mask": ("run lengths without a pixel", "left out"),
    "unmasked": (
        "objects of whose mask nothing is left",
        "kept with their box; their mask is neither learned nor scored",
    ),
    "same_class": ("classes with the name of another one", "kept"),
}
"""Harmless faults by kind, with what is done about them."""


class CocoFileError(ValueError):
    """A COCO-format file that cannot be right.

    Args:
        problems: One sentence for each kind of fault, at least one.

    Attributes:
        problems: The same.
    """

    def __init__(self, problems: list[str]) -> None:
        more = f" Further kinds of fault: {len(problems) - 1}; make coco-check shows all." if len(problems) > 1 else ""
        super().__init__(problems[0] + more)
        self.problems = problems


@dataclass
class Findings:
    """Faults by kind, each with its first example and how often it occurs.

    Attributes:
        counts: How often each kind of harmless fault occurs; the kinds are those of ``NOTES``.
        examples: Where the first of each is.
        refused: First sentence and number of the faults of each kind that stop a training.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    refused: dict[str, tuple[str, int]] = field(default_factory=dict)

    def note(self, kind: str, example: str) -> None:
        """Count a harmless fault."""
        self.examples.setdefault(kind, example)
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def refuse(self, kind: str, sentence: str) -> None:
        """Count a fault that stops a training; the first sentence of a kind is kept."""
        first, count = self.refused.get(kind, (sentence, 0))
        self.refused[kind] = (first, count + 1)

    def problems(self) -> list[str]:
        """One sentence for each kind of fault that stops a training."""
        return [
            sentence + (f" There are {count} like it." if count > 1 else "")
            for sentence, count in self.refused.values()
        ]

    def raise_refused(self) -> None:
        """Raise what stops a training, if anything does.

        Raises:
            CocoFileError: With a sentence for each kind of fault.
        """
        if self.refused:
            raise CocoFileError(self.problems())

    def lines(self) -> list[str]:
        """One line for each kind of harmless fault: how many, what is done, and where the first is."""
        return [
            f"{what}: {self.counts[kind]} ({done}); first: {self.examples[kind]}"
            for kind, (what, done) in NOTES.items()
            if kind in self.counts
        ]


def shown(value: Any) -> str:
    """The value as Python writes it, so that the text '90' and the number 90 differ; long ones are cut."""
    text = repr(value)
    return text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 4] + " ..."
