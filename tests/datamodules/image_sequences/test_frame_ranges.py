"""Assignment of frames to splits from a user's ranges."""

from typing import Any

import pytest

from datamodules.image_sequences.frame_ranges import assign_frames


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, {"train": range(18), "val": range(18, 20), "test": range(18, 20)}),
        ({"test": "15-19"}, {"train": range(15), "val": range(15, 20), "test": range(15, 20)}),
        ({"val": "0-1"}, {"train": range(2, 20), "val": range(2), "test": range(2)}),
        ({"train": "0-3, 8", "test": "10-12"}, {"train": [0, 1, 2, 3, 8], "val": [10, 11, 12], "test": [10, 11, 12]}),
        ({"val": "a:0-1", "test": "19"}, {"train": range(2, 19), "val": range(2), "test": [19]}),
    ],
)
def test_frames_are_assigned_as_written(texts: dict[str, str], expected: dict[str, Any]) -> None:
    assigned = assign_frames({"a": 20}, **({"train": None, "val": None, "test": None} | texts))
    assert assigned == {split: {"a": list(frames)} for split, frames in expected.items()}


def test_whole_sequences_can_be_assigned() -> None:
    lengths = {"kitchen": 3, "0001": 2, "hall": 4}
    assigned = assign_frames(lengths, train=None, val="hall:0-1", test="kitchen,0001:")
    assert assigned["test"] == {"kitchen": [0, 1, 2], "0001": [0, 1]}
    assert assigned["val"] == {"hall": [0, 1]}
    assert assigned["train"] == {"hall": [2, 3]}
    default = assign_frames(lengths, train=None, val=None, test=None, least_held_out=2)
    assert default["test"] == {"kitchen": [1, 2], "0001": [0, 1], "hall": [2, 3]}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"train": "0-10", "test": "10-12"}, r"test: '10-12' takes frame 10 of 'a', which is in train already"),
        ({"test": "15-20"}, r"test: '15-20' has to lie inside the frames 0-19 of 'a'"),
        ({"test": "9-5"}, r"test: '9-5' has to lie inside"),
        ({"test": "kitchen:0-3"}, r"test: there is no sequence 'kitchen'; there are a"),
        ({"test": "last"}, r"test: 'last' cannot be read; write frames as 0-99, or a sequence of a"),
        ({"test": "1-2,"}, r"test: '' cannot be read"),
    ],
)
def test_wrong_ranges_have_one_sentence(texts: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assign_frames({"a": 20}, **({"train": None, "val": None, "test": None} | texts))
