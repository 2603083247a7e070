"""Settings, their fingerprint and the plan of sequences."""

from __future__ import annotations

import dataclasses

import pytest

from datamodules.rooms.categories import CATEGORIES, CATEGORY_ID, THING_IDS
from datamodules.rooms.settings import RoomsSettings, plan


def test_default_plan_has_the_promised_size() -> None:
    sequences = plan(RoomsSettings())
    videos = [s for s in sequences if s.part == "video"]
    stills = [s for s in sequences if s.part == "still"]
    assert len(videos) >= 60
    assert sum(s.n_frames for s in videos) >= 1400
    assert len(stills) >= 1500
    assert all(s.n_frames == 1 for s in stills)
    assert [sum(s.split == split for s in videos) for split in ("train", "val", "test")] == [48, 8, 8]
    assert [sum(s.split == split for s in stills) for split in ("train", "val", "test")] == [1400, 100, 100]


def test_no_two_sequences_share_a_seed_or_a_name() -> None:
    sequences = plan(RoomsSettings())
    assert len({s.scene_seed for s in sequences}) == len(sequences)
    assert len({s.name for s in sequences}) == len(sequences)


def test_more_scenes_do_not_change_the_first_ones() -> None:
    few = plan(RoomsSettings(n_video_scenes=20, n_stills=210))
    assert set(few) <= set(plan(RoomsSettings()))


def test_fingerprint_depends_on_every_setting() -> None:
    default = RoomsSettings()
    assert default.fingerprint() == RoomsSettings().fingerprint()
    assert len(default.fingerprint()) == 12
    for field in dataclasses.fields(RoomsSettings):
        value = getattr(default, field.name)
        if isinstance(value, tuple):
            other = (value[0], value[1] + 0.001)
        elif isinstance(value, int):
            other = value + 1
        else:
            other = value + 0.01
        assert dataclasses.replace(default, **{field.name: other}).fingerprint() != default.fingerprint(), field.name


def test_files_made_before_a_setting_was_added_stay_valid() -> None:
    assert RoomsSettings().fingerprint() == "17cca9434e88"
    assert RoomsSettings(n_stills=6400).fingerprint() == "b674a7efb7e5"
    assert RoomsSettings(views_per_still=1).fingerprint() == "17cca9434e88"


def test_still_scenes_have_as_many_frames_as_views() -> None:
    many, single = plan(RoomsSettings(views_per_still=5)), plan(RoomsSettings())
    assert all(s.n_frames == (5 if s.part == "still" else 24) for s in many)
    assert [dataclasses.replace(s, n_frames=1) for s in many] == [dataclasses.replace(s, n_frames=1) for s in single]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plain_wall_fraction": 1.2}, "plain_wall_fraction is 1.2"),
        ({"camouflage_fraction": -0.1}, "camouflage_fraction is -0.1"),
        ({"focal_range": (1.1, 0.9)}, "focal_range is"),
        ({"noise_range": (float("nan"), 0.1)}, "noise_range is"),
        ({"height": 4}, "height is 4"),
        ({"frames_per_clip": 1}, "at least 2 frames"),
        ({"n_stills": 10}, "does not fit into n_stills = 10"),
        ({"seed": -1}, "seed is -1"),
        ({"views_per_still": 0}, "views_per_still is 0, a still scene needs at least 1 view"),
    ],
)
def test_bad_values_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        dataclasses.replace(RoomsSettings(), **change)


def test_categories_count_from_one_with_things_first() -> None:
    assert [index for index, _, _ in CATEGORIES] == list(range(1, len(CATEGORIES) + 1))
    assert len(THING_IDS) >= 6
    assert tuple(range(1, len(THING_IDS) + 1)) == THING_IDS
    assert CATEGORY_ID["table"] == 1
