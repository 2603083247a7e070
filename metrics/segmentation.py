"""Scores of semantic segmentation, as a function and as a torchmetrics class.

Both are computed from the confusion matrix of all pixels whose true class is known. Class ids count from 1 and 0 means
"none": pixels of true class 0 are ignored, and a prediction of 0 is an error.

    pixel_accuracy   fraction of the pixels with the correct class
    miou             mean over classes of |predicted and true| / |predicted or true|; classes that are neither predicted
                     nor true anywhere are left out

Both are better when higher.
"""

import torch
from torch import Tensor
from torchmetrics import Metric


def confusion_matrix(prediction: Tensor, *, target: Tensor, n_classes: int) -> Tensor:
    """Confusion matrix: numbers of pixels by true and predicted class.

    Args:
        prediction: int64 ``(B, H, W)``, class ids, 0 to ``n_classes``.
        target: int64 ``(B, H, W)``, class ids, 0 where unknown.
        n_classes: highest class id.

    Returns:
        int64 ``(n_classes + 1, n_classes + 1)``, true classes as rows; row 0 is zero.

    Raises:
        ValueError: if the shapes differ or a class id is out of range.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"Prediction and target have the shapes {tuple(prediction.shape)} and {tuple(target.shape)}.")
    for name, ids in (("prediction", prediction), ("target", target)):
        if ids.numel() > 0 and not 0 <= int(ids.min()) <= int(ids.max()) <= n_classes:
            raise ValueError(f"Ids of the {name} run from {ids.min()} to {ids.max()}, allowed are 0 to {n_classes}.")
    known = target > 0
    size = n_classes + 1
    pairs = target[known].long() * size + prediction[known].long()
    return torch.bincount(pairs, minlength=size * size).view(size, size)


def scores_from_confusion(confusion: Tensor) -> dict[str, Tensor]:
    """Scores from a confusion matrix.

    Args:
        confusion: int64 ``(C + 1, C + 1)``, see `confusion_matrix`.

    Returns:
        float64 scalars ``miou`` and ``pixel_accuracy`` in [0, 1]; NaN where no true class was known.
    """
    counts = confusion.double()
    hits = counts.diagonal()[1:]
    union = (counts.sum(dim=0) + counts.sum(dim=1))[1:] - hits
    seen = union > 0
    return {"miou": (hits[seen] / union[seen]).mean(), "pixel_accuracy": hits.sum() / counts.sum()}


class SegmentationMetrics(Metric):
    """`scores_from_confusion`, accumulated over batches and ranks.

    Args:
        n_classes: highest class id.

    Raises:
        ValueError: if there is no class.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    confusion: Tensor

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        if n_classes < 1:
            raise ValueError(f"n_classes must be at least 1, got {n_classes}.")
        self.n_classes = n_classes
        size = n_classes + 1
        self.add_state("confusion", torch.zeros(size, size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, *, target: Tensor) -> None:
        """Add a batch; see `confusion_matrix` for the arguments and errors."""
        self.confusion = self.confusion + confusion_matrix(prediction, target=target, n_classes=self.n_classes)

    def compute(self) -> dict[str, Tensor]:
        """Scores of everything added so far, see `scores_from_confusion`."""
        return scores_from_confusion(self.confusion)


def merged_by_majority(confusion: Tensor) -> Tensor:
    """Confusion matrix with every predicted class mapped to the true class that it coincides with most often.

    For predictions whose class table differs from that of the ground truth. Several predicted classes may be mapped to
    one true class. The resulting scores measure how well the predicted segments could represent the true classes.

    Args:
        confusion: int64 ``(C + 1, C + 1)``, see `confusion_matrix`.

    Returns:
        int64 ``(C + 1, C + 1)``; predictions of 0 stay 0.
    """
    names = torch.cat((torch.zeros_like(confusion[0, :1]), confusion[1:, 1:].argmax(dim=0) + 1))
    return torch.zeros_like(confusion).index_add_(1, names, confusion)
