"""How a depth paper is evaluated: alignment, depth range, crop and average, as one group of settings."""

from dataclasses import dataclass

from metrics.protocol import Alignment, Average, Crop, DepthProtocol


@dataclass(frozen=True)
class DepthEvaluation:
    """Protocol under which the depth errors of validation and test are taken.

    Each paper has its own defaults. In YAML and on the command line a setting that is not given keeps the paper's:
    ``--model.init_args.evaluation.max_depth_m 80`` changes that one alone.

    Args:
        alignment: Alignment of each prediction with its ground truth before errors are taken: ``none``, ``median``
            (ratio of medians), or ``least_squares`` (scale and shift).
        min_depth_m: Ground truth nearer than this is ignored and predictions are clamped to it, metres.
        max_depth_m: Ground truth beyond this is ignored and predictions are clamped to it, metres.
        crop: Evaluated window as fractions ``(top, bottom, left, right)`` of height and width, or None for all.
        average: Whether errors are means over images or over pixels (their names end in ``_img`` or ``_px``).

    Raises:
        ValueError: If a choice is unknown, ``0 < min_depth_m < max_depth_m`` does not hold, or the crop is no window
            inside the image.
    """

    alignment: Alignment = "none"
    min_depth_m: float = 1e-3
    max_depth_m: float = 10.0
    crop: Crop | None = None
    average: Average = "image"

    def __post_init__(self) -> None:
        try:
            DepthProtocol(**vars(self))  # where the values are checked, for metrics without a paper too
        except ValueError as error:
            raise ValueError(f"evaluation: {error}") from None
