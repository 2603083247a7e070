"""Kinds of ground truth and their names in YAML files and manifests."""

import pytest

from structures.depth_kind import DepthKind


@pytest.mark.parametrize("kind", list(DepthKind))
def test_every_kind_has_its_lower_case_name(kind):
    assert DepthKind.from_name(kind.name.lower()) is kind


def test_the_numbers_that_batches_hold_do_not_change():
    assert {kind.name: int(kind) for kind in DepthKind} == {
        "METRIC": 0, "AFFINE_DEPTH": 1, "AFFINE_DISPARITY": 2, "ORDINAL": 3,
    }  # fmt: skip


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(ValueError, match="'disparity' is not known; choose among metric, affine_depth"):
        DepthKind.from_name("disparity")
