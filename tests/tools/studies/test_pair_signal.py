"""Counts of pixel pairs within objects, across their edges and outside."""

import torch

from geometry.boxes import NEIGHBOUR_OFFSETS
from losses.pairwise_affinity import DILATION
from tools.studies.pair_signal import main, pair_counts


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


def test_true_depth_separates_edges_better_than_noise(rooms_root, capsys):
    taken, of_all = {}, {}
    for depth in ("exact", "noise"):
        assert main([f"--data.init_args.root={rooms_root}", *SETTINGS, f"--data.init_args.pseudo_depth={depth}"]) == 0
        lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
        assert set(lines) == {
            f"{objects}, {gate}"
            for objects in ("all", "camouflaged")
            for gate in ("colour 0.1", *(f"{kind} {scale}" for kind in ("depth", "both") for scale in (20, 60, 180)))
        }
        words = lines["all, depth 20"].split("; ")[1].replace("(", "").split()
        taken[depth], of_all[depth] = float(words[0]), float(words[-3])
    assert of_all["exact"] == of_all["noise"]
    assert taken["exact"] < 0.95 * of_all["exact"]
    assert taken["exact"] < taken["noise"]


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
