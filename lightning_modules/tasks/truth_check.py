"""Checks of the ground truth of a run: whether it can be in metres, and why an error is NaN."""

import logging
from collections.abc import Mapping
from typing import cast

from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from metrics.protocol import DepthProtocol
from metrics.truth_tally import TruthTally
from structures.batch import DepthBatch
from structures.depth_units import summarise, why_doubtful, why_impossible

logger = logging.getLogger(__name__)


@rank_zero_only
def _warn(message: str) -> None:
    logger.warning("%s", message)


class TruthCheck(nn.Module):
    """Collects statistics of the ground truth of a depth module. Has no parameters and no state in checkpoints.

    Args:
        protocols: Depth range and crop of ``val`` and ``test``; that of ``val`` is also used for training.

    Attributes:
        unscored: Why the errors of the last validation or test are NaN although there is ground truth; None otherwise.
    """

    def __init__(self, protocols: Mapping[str, DepthProtocol]) -> None:
        super().__init__()
        self.protocols = dict(protocols)
        self.tallies = nn.ModuleDict({stage: TruthTally(protocol) for stage, protocol in protocols.items()})
        self.unscored: str | None = None
        self._stages_checked: set[str] = set()

    def check(self, stage: str, batch: DepthBatch) -> None:
        """Count the ground truth of a batch, and check the unit of the first batch of a stage that has any.

        Args:
            stage: ``train``, ``val`` or ``test``.
            batch: A batch with depth.

        Raises:
            ValueError: If measured depth cannot be in metres; the message names the likely unit.
        """
        depth, mask = batch["depth"], batch["depth_mask"]
        if stage in self.tallies:
            cast(TruthTally, self.tallies[stage]).update(depth, mask)
        if stage in self._stages_checked:
            return
        protocol = self.protocols.get(stage, self.protocols["val"])
        summary = summarise(depth, mask, near_m=protocol.min_depth_m, far_m=protocol.max_depth_m)
        if summary is None:
            return
        self._stages_checked.add(stage)
        where = f"first {stage} batch with truth"
        impossible = why_impossible(summary)
        if impossible is not None:
            raise ValueError(f"{where}: {impossible}")
        doubt = why_doubtful(summary)
        if doubt is not None:
            _warn(f"{where}: {doubt}")

    def warn_if_nan(self, stage: str, values: Mapping[str, Tensor]) -> None:
        """Warn with the reason if errors of a stage are NaN although there is ground truth.

        Args:
            stage: ``val`` or ``test``.
            values: Its metrics by name, reduced over all ranks.
        """
        errors = [value for name, value in values.items() if name.startswith("abs_rel")]
        self.unscored = None
        if any(bool(value.isnan()) for value in errors):
            self.unscored = cast(TruthTally, self.tallies[stage]).why_nan()
        if self.unscored is not None:
            _warn(f"{stage}: {self.unscored}")

    def reset(self, stage: str) -> None:
        """Reset the counts of a stage."""
        cast(TruthTally, self.tallies[stage]).reset()
