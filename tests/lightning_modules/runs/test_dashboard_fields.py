"""What dashboards group runs by."""

import pytest

from lightning_modules.runs.dashboard_fields import dashboard_fields, variant_of


@pytest.mark.parametrize(
    ("run_id", "variant"),
    [
        ("gam_depth_full_s0", "gam_depth_full"),
        ("gam_depth_full_s12", "gam_depth_full"),
        ("start_motion_many_s2", "start_motion_many"),
        ("20261130-101112-1234", "gam_depth"),
        ("20261130_s1", "gam_depth"),
        ("long", "gam_depth"),
        ("4711_3", "gam_depth"),
    ],
)
def test_runs_that_differ_in_their_seed_share_a_variant(run_id, variant):
    assert variant_of(run_id, "gam_depth") == variant


def test_fields_come_from_the_record():
    record = {"run": "a_full_s1", "experiment": "a", "commit": "0123", "data_version": "rooms-1", "seed": 1}
    assert dashboard_fields(record) == {"commit": "0123", "data_version": "rooms-1", "variant": "a_full"}
