"""A page with the point cloud of one image, which turns in any browser without a network."""

from pathlib import Path

from structures.sample_file import SampleRecord
from tools.report.assets import Assets
from tools.report.clouds import cloud_of
from tools.report.page import write_page

SUFFIX = "_cloud.html"
MOST_POINTS = 80_000
"""Largest number of points: 0.5 MB beside the 4.7 MB of the library that draws them, and quick to turn."""


def write_cloud_page(stem: Path, record: SampleRecord, *, unit: str = "m") -> int:
    """Write ``<stem>_cloud.html``.

    Args:
        stem: Path without suffix; text is appended to it.
        record: Image, depth (0 where there is no point) and intrinsics.
        unit: Unit of the axes.

    Returns:
        Size of the file, bytes; 0 if there is no point and nothing was written.

    Raises:
        ImportError: If the package plotly is missing.
        OSError: If the file cannot be written.
    """
    assets = Assets()
    cloud = cloud_of(record, assets, most_points=MOST_POINTS, max_jump=None)  # edges have no depth already
    if cloud is None:
        return 0
    content = {"name": record.name, "unit": unit, "cloud": cloud}
    path = stem.with_name(stem.name + SUFFIX)
    return write_page(path, content, assets.texts, template="cloud.html", scripts=("points", "cloud"))
