"""Pairing of files by name; uninformative or contradicting names are refused."""

import unicodedata
from pathlib import Path

import pytest

from datamodules.files.natural_order import sort_naturally
from datamodules.files.pairing import pair_files


def paths(folder: str, names: list[str]) -> list[Path]:
    return [Path(folder) / name for name in names]


def pair(images: list[str], others: list[str], **options: object) -> list[tuple[str, str]]:
    found = pair_files(paths("color", images), paths("depth", others), **options)  # type: ignore[arg-type]
    return [(image.name, other.name) for image, other in found.pairs]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["frame_10.png", "frame_2.png", "Frame_1.png"], ["Frame_1.png", "frame_2.png", "frame_10.png"]),
        (["0.9.png", "0.15.png", "0.1.png", "1.0.png"], ["0.1.png", "0.15.png", "0.9.png", "1.0.png"]),
        (["1305031102.2.png", "1305031102.175304.png"], ["1305031102.175304.png", "1305031102.2.png"]),
        (["shot1.10.png", "shot1.1.png", "shot1.9.png"], ["shot1.1.png", "shot1.9.png", "shot1.10.png"]),
        (["2026.10.02.png", "2026.9.30.png"], ["2026.9.30.png", "2026.10.02.png"]),
        (["o_1.png", "o_-2.png", "o_-10.png"], ["o_-10.png", "o_-2.png", "o_1.png"]),
        (["a-10.png", "a-2.png"], ["a-2.png", "a-10.png"]),
        # One apart, and equal as floating-point numbers.
        (["9007199254740993.png", "9007199254740992.png"], ["9007199254740992.png", "9007199254740993.png"]),
        (["b.png", "a.png", "a.jpg"], ["a.jpg", "a.png", "b.png"]),
        (["10.a.jpg", "9.b.png"], ["9.b.png", "10.a.jpg"]),
    ],
)
def test_natural_order(names: list[str], expected: list[str]) -> None:
    assert [path.name for path in sort_naturally(map(Path, names))] == expected


def test_folders_are_in_natural_order_too() -> None:
    files = [Path("scene.10"), Path("scene.9"), Path("scene10/1.png"), Path("scene2/10.png"), Path("scene2/9.png")]
    assert sort_naturally(files) == [files[4], files[3], files[2], files[1], files[0]]


PAIRED = {
    "equal names": [(f"{i:03d}.jpg", f"{i:03d}.png") for i in range(12)],
    "one counts without leading zeros": [(f"frame_{i}.png", f"{i:05d}.png") for i in range(12)],
    "other words": [(f"rgb_{i}.jpg", f"d_{i}.png") for i in range(12)],
    "numbers that never change": [(f"v2_{i}_640x480.jpg", f"{i:06d}_16bit.png") for i in range(12)],
    "words of the role behind": [(f"frame-{i:06d}.color.jpg", f"frame-{i:06d}.depth.png") for i in range(12)],
    "words of the role and zeros": [(f"{i}_rgb.jpg", f"depth_{i:04d}.png") for i in range(12)],
    "decimals without trailing zeros": [(f"{i * 0.15:g}.jpg", f"{i * 0.15:.3f}.png") for i in range(12)],
    "points that are not decimal": [(f"s1.{i}.jpg", f"s1.{i:03d}.png") for i in range(1, 13)],
    "numbers that start again": [("hall1.jpg", "hall01.png"), ("room1.jpg", "room01.png"), ("room2.jpg", "room02.png")],
    "an index beside a time": [(f"rgb_{i}_{i * 33}.jpg", f"{i}.png") for i in range(12)],
    "negative numbers": [(f"o_{i}.jpg", f"depth_{i}.png") for i in range(-3, 4)],
    "one file of each": [("photo.jpg", "laser.png")],
    "composed and decomposed": [
        (f"{unicodedata.normalize('NFC', name)}.jpg", f"{unicodedata.normalize('NFD', name)}.png")
        for name in ("büro", "küche")
    ],
}


@pytest.mark.parametrize("case", PAIRED)
def test_files_are_paired_by_name_in_the_order_of_the_images(case: str) -> None:
    pairs = PAIRED[case]
    assert pair([image for image, _ in pairs][::-1], [other for _, other in pairs]) == pairs


def stamped(*stamps: str) -> list[str]:
    return [f"{stamp}.png" for stamp in stamps]


def test_time_stamps_leave_frames_unmatched_instead_of_using_a_neighbour() -> None:
    # 60 frames a second: without the depth of 12.5 and the image of 12.5334, a pair of the two would be 33 ms apart,
    # and one of neighbours 16.7 ms.
    images = stamped("12.4833", "12.5", "12.51667", "12.55")
    depths = stamped("12.484", "12.517", "12.5334", "12.5501")
    found = pair_files(paths("color", images), paths("depth", depths), tolerance_s=0.02)
    assert [(image.stem, other.stem) for image, other in found.pairs] == [
        ("12.4833", "12.484"), ("12.51667", "12.517"), ("12.55", "12.5501"),
    ]  # fmt: skip
    assert [path.stem for path in found.unmatched_images] == ["12.5"]
    assert [path.stem for path in found.unmatched_others] == ["12.5334"]
    assert found.largest_gap_s == pytest.approx(0.0007)
    assert found.summary() == (
        "3 images and depths paired by nearest time stamps (largest gap 0.0007 s, tolerance 0.02 s); without "
        "a partner and left out: 1 image (12.5.png), 1 depth (12.5334.png): first "
        "12.4833.png + 12.484.png, middle 12.51667.png + 12.517.png, last 12.55.png + 12.5501.png"
    )
    assert len(pair(images, depths, tolerance_s=0.0005)) == 2


def test_time_stamps_of_other_units_are_compared_exactly() -> None:
    nanoseconds = [f"{1403636579763555584 + i * 50_000_000}.png" for i in range(5)]
    seconds = [f"1403636579.{763555 + i * 50_000:06d}.png" for i in range(4)]
    found = pair_files(paths("color", nanoseconds), paths("depth", seconds))
    assert [(image.name, other.name) for image, other in found.pairs] == list(zip(nanoseconds, seconds, strict=False))
    assert found.largest_gap_s == pytest.approx(0.584e-6)
    # Integers are time stamps if the user gives a unit.
    images, depths = [f"{i * 33}.png" for i in range(8)], [f"{i * 33 + 4}.png" for i in range(2, 8)]
    with pytest.raises(ValueError, match=r"by equal numbers: 8 images have no partner .* give their unit"):
        pair(images, depths)
    assert pair(images, depths, time_unit="ms") == list(zip(images[2:], depths, strict=True))


def test_scenes_are_paired_folder_by_folder() -> None:
    images = [Path(f"set/scene{s}/color/{i}.jpg") for s in (1, 2, 10) for i in range(3)]
    depths = [Path(f"set/scene{s}/depth/{i:04d}.png") for s in (10, 2, 1) for i in range(3)]
    found = pair_files(images[::-1], depths)
    assert [image for image, _ in found.pairs] == images
    assert all(image.parts[1] == depth.parts[1] and int(image.stem) == int(depth.stem) for image, depth in found.pairs)
    elsewhere = [Path(f"truth/part/scene_{s:02d}/{i}.png") for s in (1, 2, 10) for i in range(3)]
    assert [other for _, other in pair_files(images, elsewhere).pairs] == elsewhere
    with pytest.raises(ValueError, match=r"lie in 3 folders \(.*\) and the depths in 2 .*do not correspond"):
        pair_files(images, depths[3:])
    # One side is split into folders: names identify the files.
    spread = [Path(f"depth/{'a' if i < 2 else 'b'}/{i}.png") for i in range(4)]
    assert [other for _, other in pair_files(paths("color", [f"{i}.jpg" for i in range(4)]), spread).pairs] == spread


REFUSED = {
    "a depth is missing": (
        [f"{i}.jpg" for i in range(12)], [f"{i:03d}.png" for i in range(12) if i != 7],
        r"12 images in color and the 11 depths in depth cannot be paired .*: 1 image has no partner \(7.jpg\)",
    ),
    "counts that begin elsewhere": (
        [f"{i}.jpg" for i in range(60)], [f"{i}.png" for i in range(1, 61)],
        r"1 image has no partner \(0.jpg\), and 1 depth has no partner \(60.png\)",
    ),
    "nothing but order": (
        ["apple.jpg", "pear.jpg"], ["nut.png", "plum.png"],
        r"neither a number nor anything else in common .*order alone is no evidence; give partners the same name",
    ),
    "two of one number": (
        ["f_1.jpg", "f_01.jpg", "f_2.jpg"], ["1.png", "2.png", "3.png"],
        r"f_01.jpg and f_1.jpg are the same by equal numbers, and 1 depth",
    ),
    "numbers in contradiction": (
        ["s1_10.jpg", "s2_11.jpg"], ["run1-11.png", "run2-10.png"], r"several numbers, which contradict each other",
    ),
    "other numbers": (["frame_1.jpg"], ["depth_2.png"], r"1 image has no partner \(frame_1.jpg\)"),
    "clocks apart": (stamped("10.5", "10.6"), stamped("99.5", "99.6"), r"nearest time stamps are 88.9 s apart"),
    "colour and depth in one pattern": (
        ["1_color.png", "1_depth.png", "2_color.png", "2_depth.png"], ["1_d.png", "1_e.png", "2_d.png", "2_e.png"],
        r"1_color.png and 1_depth.png are the same by equal numbers, and 1_d.png and 1_e.png are",
    ),
    "no depth": (["1.jpg"], [], r"There are 1 image and 0 depths; every image needs one"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_not_one_to_one_are_refused_in_one_sentence(case: str) -> None:
    images, others, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as caught:
        pair(images, others)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance_s": -1.0}, "number of seconds from 0 on, got -1"),
        ({"tolerance_s": float("inf")}, "got inf"),
        ({"tolerance_s": float("nan")}, "got nan"),
        ({"time_unit": "min"}, "'min' is not known; choose one of s, ms, us, ns"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair(["1.5.jpg"], ["1.5.png"], **options)


def test_a_counter_that_contradicts_the_time_stamps_beside_it_does_not_pair() -> None:
    """Streams have independent counters: after a dropped frame, equal counts are one frame apart."""
    stamps = [1305031102175 + 33 * i for i in range(10)]
    images = [f"{i:04d}_{stamp}.png" for i, stamp in enumerate(stamp for i, stamp in enumerate(stamps) if i != 3)]
    depths = [f"{i:04d}_{stamp + 4}.png" for i, stamp in enumerate(stamp for i, stamp in enumerate(stamps) if i != 7)]
    pairs = pair(images, depths)
    assert len(pairs) == 8
    assert {int(depth[5:18]) - int(image[5:18]) for image, depth in pairs} == {4}


def test_a_counter_holds_where_two_clocks_differ_by_a_constant() -> None:
    images = [f"{i:04d}_{1305031102175 + 33 * i}.png" for i in range(6)]
    depths = [f"{i:04d}_{1305031177001 + 33 * i}.png" for i in range(6)]
    assert pair(images, depths) == list(zip(images, depths, strict=True))


@pytest.mark.parametrize("unit", [None, "ns"])
def test_seconds_and_nanoseconds_as_two_numbers_are_one_time_stamp(unit: str | None) -> None:
    """Nanoseconds alone restart every second, so both numbers form one time stamp, with or without a unit."""

    def name(milliseconds: int) -> str:
        return f"{1305031102 + milliseconds // 1000}_{milliseconds % 1000 * 1000000:09d}.png"

    times = [990 + 310 * i for i in range(12)]
    images, depths = [name(time) for time in times], [name(time + 13) for time in times if time != 1300]
    found = pair(images, depths, time_unit=unit)
    assert found == [(name(time), name(time + 13)) for time in times if time != 1300]


def test_a_part_of_a_time_is_no_time_stamp() -> None:
    images, depths = ([f"10-11-{s:02d}-{ms + late:03d}.png" for s in (1, 2) for ms in (100, 400)] for late in (0, 5))
    with pytest.raises(ValueError, match="cannot be paired one to one"):
        pair(images, depths, time_unit="ms")
