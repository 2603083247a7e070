"""Counts of pixel pairs within objects, across their edges and outside."""

import math

import pytest
import torch

from geometry.boxes import NEIGHBOUR_OFFSETS
from losses.pairwise_affinity import DILATION
from tools.studies.pair_signal import OBJECTS, degraded, main, pair_counts


def test_pair_counts_equal_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    masks, boxes = (torch.rand(2, 3, 7, 9, generator=generator) < share for share in (0.4, 0.7))
    weights = torch.rand(2, 8, 7, 9, generator=generator) < 0.5
    expected = torch.zeros(2, 3, 2, 3, dtype=torch.float64)
    for image, instance, y, x in boxes.nonzero().tolist():
        for i, (dy, dx) in enumerate(NEIGHBOUR_OFFSETS):
            there = (y + DILATION * dy, x + DILATION * dx)
            if not (0 <= there[0] < 7 and 0 <= there[1] < 9):
                continue
            ends = int(masks[image, instance, y, x]) + int(masks[image, instance, there[0], there[1]])
            kind = {2: 0, 1: 1, 0: 2}[ends]
            expected[0, kind, image, instance] += 1
            expected[1, kind, image, instance] += int(weights[image, i, y, x])
    assert torch.equal(pair_counts(masks, boxes, weights), expected)


SETTINGS = (
    "--data.init_args.image_size=[64, 96]",
    "--data.init_args.batch_size=2",
    "--data.init_args.processes=0",
    "--data.init_args.min_box_side=3.0",
    "--data.init_args.min_area=9",
    "--data.init_args.pseudo_depth=exact",
    "--data.init_args.pseudo_depth_file=null",
    *(
        f"--data.init_args.settings.{name}={value}"
        for name, value in {
            "height": 48,
            "width": 64,
            "n_video_scenes": 3,
            "n_video_val": 1,
            "n_video_test": 1,
            "frames_per_clip": 2,
            "n_stills": 5,
            "n_stills_val": 1,
            "n_stills_test": 1,
        }.items()
    ),
)
"""Settings of overlays/rooms_instances.yaml, so that the tests share its file."""


def crossing(line: str) -> tuple[float, float]:
    """Shares of selected and of all pairs that cross an edge."""
    words = line.split("; ")[1].replace("(", "").split()
    return float(words[0]), float(words[-3])


def test_true_depth_separates_edges_better_than_noise(rooms_root, capsys):
    taken, of_all = {}, {}
    cases = {"exact": [], "noise": [], "degraded": ["--blur=2", "--noise=0.1"]}
    for case, words in cases.items():
        depth = "noise" if case == "noise" else "exact"
        given = [f"--data.init_args.root={rooms_root}", *SETTINGS, f"--data.init_args.pseudo_depth={depth}", *words]
        assert main(given) == 0
        lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
        depths = ("first 0.035", "first 0.012", "first 0.005", "plane 0.01", "plane 0.005")
        assert set(lines) == {
            f"{objects}, {gate}"
            for objects in OBJECTS
            for gate in ("colour 0.1", "colour 0.3", *depths, "colour 0.3 and plane 0.005")
        }
        taken[case], of_all[case] = crossing(lines["all, plane 0.01"])
    assert of_all["exact"] == of_all["noise"] == of_all["degraded"]
    assert taken["exact"] < 0.7 * of_all["exact"]
    assert taken["exact"] < min(taken["noise"], taken["degraded"])


def test_degraded_depth_is_blurred_and_noisy():
    depth = torch.zeros(1, 1, 20, 30)
    depth[..., 15:] = 1.0
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(degraded(depth, blur_px=0, noise=0, generator=generator), depth)
    blurred = degraded(depth, blur_px=2, noise=0, generator=generator)[0, 0, 10]
    # An edge after a Gaussian blur: at half the width of a pixel from it, and one standard deviation further.
    expected = [0.5 * (1 + math.erf(x / 2 / math.sqrt(2))) for x in (-0.5, 0.5, 2.5)]
    assert blurred[[14, 15, 17]].tolist() == pytest.approx(expected, abs=0.01)
    noisy = degraded(depth, blur_px=0, noise=0.2, generator=generator) - depth
    assert float(noisy.std()) == pytest.approx(0.2, rel=0.1)


def test_data_without_masks_are_refused_in_a_sentence(rooms_root, capsys):
    assert main([f"--data.init_args.root={rooms_root}", *SETTINGS, "--data.init_args.mask_share=0.0"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_label_file_is_one_sentence(rooms_root, tmp_path, capsys):
    missing = tmp_path / "none.h5"
    arguments = ["--data.init_args.pseudo_depth=file", f"--data.init_args.pseudo_depth_file={missing}"]
    assert main([f"--data.init_args.root={rooms_root}", *SETTINGS, *arguments]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "none.h5" in told
