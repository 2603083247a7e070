"""Looks at the truth of a run: whether it can be in metres, and why a score over it is NaN."""

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
def _say(message: str) -> None:
    logger.warning("%s", message)


class TruthCheck(nn.Module):
    """What a depth module knows of its truth; it has no parameter, no entry in a checkpoint, and draws nothing.

    Args:
        protocols: Range and crop that count in each of ``val`` and ``test``; those of ``val`` also for training.

    Attributes:
        unscored: Why the last validation or test gave no score though there is truth; None where it gave one.
    """

    def __init__(self, protocols: Mapping[str, DepthProtocol]) -> None:
        super().__init__()
        self.protocols = dict(protocols)
        self.tallies = nn.ModuleDict({stage: TruthTally(protocol) for stage, protocol in protocols.items()})
        self.unscored: str | None = None
        self._looked_at: set[str] = set()

    def look(self, stage: str, batch: DepthBatch) -> None:
        """Count the truth of a batch, and judge the unit of the first one of a stage that has any.

        Args:
            stage: ``train``, ``val`` or ``test``.
            batch: A batch with depth.

        Raises:
            ValueError: If measured depth cannot be in metres; the sentence names the likely unit.
        """
        depth, mask = batch["depth"], batch["depth_mask"]
        if stage in self.tallies:
            cast(TruthTally, self.tallies[stage]).update(depth, mask)
        if stage in self._looked_at:
            return
        protocol = self.protocols.get(stage, self.protocols["val"])
        summary = summarise(depth, mask, near_m=protocol.min_depth_m, far_m=protocol.max_depth_m)
        if summary is None:
            return
        self._looked_at.add(stage)
        where = f"first {stage} batch with truth"
        impossible = why_impossible(summary)
        if impossible is not None:
            raise ValueError(f"{where}: {impossible}")
        doubt = why_doubtful(summary)
        if doubt is not None:
            _say(f"{where}: {doubt}")

    def explain(self, stage: str, values: Mapping[str, Tensor]) -> None:
        """Say why the errors of a stage are NaN, where there is truth.

        Args:
            stage: ``val`` or ``test``.
            values: Its metrics by name, reduced over all ranks.
        """
        errors = [value for name, value in values.items() if name.startswith("abs_rel")]
        self.unscored = None
        if any(bool(value.isnan()) for value in errors):
            self.unscored = cast(TruthTally, self.tallies[stage]).why_nan()
        if self.unscored is not None:
            _say(f"{stage}: {self.unscored}")

    def reset(self, stage: str) -> None:
        """Forget the counts of a stage."""
        cast(TruthTally, self.tallies[stage]).reset()
