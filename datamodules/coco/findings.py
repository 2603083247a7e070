"""Counts of the faults in a COCO-format file: invalid content that raises an error, and harmless faults."""

from dataclasses import dataclass, field
from typing import Any

SHOWN_LETTERS = 60
"""Maximum length of a value in a message."""

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
    "odd_polygon": ("polygons with a number that is not finite, or outside of their image", "left out"),
    "empty_mask": ("run lengths without a pixel", "left out"),
    "unmasked": (
        "objects of whose mask nothing is left",
        "kept with their box; their mask is neither learned nor scored",
    ),
    "same_class": ("classes with the name of another one", "kept"),
}
"""Harmless faults by kind: description and treatment."""


class CocoFileError(ValueError):
    """Error for a COCO-format file with invalid content.

    Args:
        problems: One sentence per kind of fault, at least one.

    Attributes:
        problems: The sentences.
    """

    def __init__(self, problems: list[str]) -> None:
        more = f" Further kinds of fault: {len(problems) - 1}; make coco-check shows all." if len(problems) > 1 else ""
        super().__init__(problems[0] + more)
        self.problems = problems


@dataclass
class Findings:
    """Faults by kind, with the first example and the count of each.

    Attributes:
        counts: Number of harmless faults of each kind in ``NOTES``.
        examples: Location of the first fault of each kind.
        refused: First sentence and number of the errors of each kind.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    refused: dict[str, tuple[str, int]] = field(default_factory=dict)

    def note(self, kind: str, example: str) -> None:
        """Count a harmless fault."""
        self.examples.setdefault(kind, example)
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def refuse(self, kind: str, sentence: str) -> None:
        """Count an error; the first sentence of each kind is kept."""
        first, count = self.refused.get(kind, (sentence, 0))
        self.refused[kind] = (first, count + 1)

    def problems(self) -> list[str]:
        """Return one sentence for each kind of error."""
        return [
            sentence + (f" There are {count} like it." if count > 1 else "")
            for sentence, count in self.refused.values()
        ]

    def raise_refused(self) -> None:
        """Raise an exception if there are errors.

        Raises:
            CocoFileError: With one sentence for each kind of error.
        """
        if self.refused:
            raise CocoFileError(self.problems())

    def lines(self) -> list[str]:
        """Return one line for each kind of harmless fault: count, treatment and first example."""
        return [
            f"{what}: {self.counts[kind]} ({done}); first: {self.examples[kind]}"
            for kind, (what, done) in NOTES.items()
            if kind in self.counts
        ]


def format_value(value: Any) -> str:
    """Return the ``repr`` of a value, which distinguishes the text '90' from the number 90; long ones are truncated."""
    text = repr(value)
    return text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 4] + " ..."
