"""Robust geometry-preserving depth estimation using differentiable rendering."""

from lightning_modules.render_consistency.module import RenderConsistency

__all__ = ["RenderConsistency"]
