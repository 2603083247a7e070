"""Entries of a W&B run's configuration by which dashboards group and filter runs."""

import re
from collections.abc import Mapping
from typing import Any

_OF_A_SEED = re.compile(r"(?P<variant>.*[^\W\d].*)_s\d+")


def dashboard_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """Commit, version of the data, and variant of a run.

    Args:
        record: Content of ``run.json``.
    """
    return {
        "commit": record.get("commit"),
        "data_version": record.get("data_version"),
        "variant": variant_of(str(record.get("run")), str(record.get("experiment"))),
    }


def variant_of(run_id: str, experiment: str) -> str:
    """What the runs of an ablation that differ in their seed alone have in common; else the experiment's name.

    >>> variant_of("gam_depth_full_s2", "gam_depth"), variant_of("20261130-101112-1234", "lite_unet")
    ('gam_depth_full', 'lite_unet')
    """
    found = _OF_A_SEED.fullmatch(run_id)
    return experiment if found is None else found["variant"]
