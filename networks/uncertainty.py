"""Learned weights of loss terms (Kendall et al. 2018, https://arxiv.org/abs/1705.07115)."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from geometry.stencils import at_least_float32


class UncertaintyWeights(nn.Module):
    """Homoscedastic uncertainty: ``exp(-s) L + s`` with a learned log variance ``s`` of each term.

    For a fixed ``L`` the minimum is at ``s = log L``: every term is weighted by its inverse. (The paper's factors of
    1/2 are omitted.) ``log_variance`` should have no weight decay, which would pull the weights towards 1.

    Args:
        names: names of the terms, all different.

    Raises:
        ValueError: if there is no name or a name occurs twice.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"The terms are {self.names}, but at least one is needed and none may occur twice.")
        self.log_variance = nn.Parameter(torch.zeros(len(self.names)))

    def weights(self) -> dict[str, Tensor]:
        """``exp(-s)`` of each term, without gradient, for logs."""
        return dict(zip(self.names, self.log_variance.detach().exp().reciprocal().unbind(), strict=True))

    def forward(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighted terms of a step.

        A term that is exactly zero had nothing to compare in this batch and is returned unchanged: its ``s`` would
        otherwise decrease without limit.

        Args:
            terms: scalars, not negative, by name; some may be missing, such as those that start later.

        Returns:
            ``exp(-s) L + s`` by name in at least float32, to be summed. May be negative.

        Raises:
            ValueError: if a term has no weight.
        """
        unknown = [name for name in terms if name not in self.names]
        if unknown:
            raise ValueError(f"Loss term {', '.join(unknown)} has no weight; there are {', '.join(self.names)}.")
        log_variance = dict(zip(self.names, at_least_float32(self.log_variance).unbind(), strict=True))
        weighted = {}
        for name, term in terms.items():
            term, s = at_least_float32(term), log_variance[name]
            weighted[name] = torch.where(term.detach() == 0, term, torch.exp(-s) * term + s)
        return weighted

    def extra_repr(self) -> str:
        """The names, for ``print(module)``."""
        return ", ".join(self.names)
