import cv2
import numpy as np
import pytest
import torch
import yaml

from lightning_modules.callbacks.prediction_panel import PANEL_WIDTH
from lightning_modules.callbacks.video_file import VIDEO_WIDTH
from lightning_modules.supervised_depth import SupervisedDepth
from renderers.colour_bars import ColourBar
from renderers.display import colorize, to_uint8
from renderers.figure import Picture, PictureRow, draw_figure
from structures.calibration import Calibration
from tests.data.make_constant_depth import ConstantDepth, write_checkpoint
from tests.data.make_huggingface import make_depth_anything
from tests.helpers import Affine, Slanted
from tools.predict import main


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    return write_checkpoint(folder / "best.ckpt", ConstantDepth(2.3456, None))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for name in ("a/1.png", "b/1.png"):
        (folder / name).parent.mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), pixels)
    return folder


def run(checkpoint, source, output, *more):
    return main(["--checkpoint", str(checkpoint), "--input", str(source), "--output", str(output), *more])


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def read_depth(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def place_in_panel(size, position, width=PANEL_WIDTH):
    """Where the image (0) or the depth (1) of an image of a size is drawn in a panel."""
    blank = np.zeros((*size, 3), np.uint8)
    row = PictureRow("", (Picture("", blank), Picture("", blank, ColourBar(1.0, 2.0))))
    return draw_figure([row], width=width).places[0][position]


def crop(picture, place):
    top, left, height, width = place
    return picture[top : top + height, left : left + width]


def test_sizes_and_subfolders_of_unusual_images_are_kept(tmp_path, checkpoint, photos, capsys):
    assert run(checkpoint, photos, tmp_path / "out", "--size", "64", "64") == 0
    kinds = ["color", "depth", "panel"]
    assert files(tmp_path / "out") == [f"{folder}/1_{kind}.png" for folder in "ab" for kind in kinds]
    depth = read_depth(tmp_path / "out" / "b" / "1_depth.png")
    assert depth.dtype == np.uint16
    assert depth.shape == (97, 131)
    assert (depth == 2346).all()  # 2.3456 m
    panel = cv2.imread(str(tmp_path / "out" / "a" / "1_panel.png"))[..., ::-1]
    photo = cv2.imread(str(photos / "a" / "1.png"))[..., ::-1]
    np.testing.assert_array_equal(crop(panel, place_in_panel((97, 131), 0))[2::4, 2::4], photo)
    assert "2 images done" in capsys.readouterr().out


@pytest.mark.parametrize("camera", [["--field-of-view", "60"], ["--k", "120", "120", "65.5", "48.5"]])
def test_known_intrinsics_give_point_clouds_on_request(tmp_path, checkpoint, photos, camera):
    assert run(checkpoint, photos / "a" / "1.png", tmp_path / "out", *camera, "--no-panel", "--ply") == 0
    assert files(tmp_path / "out") == ["1.ply", "1_color.png", "1_depth.png", "1_side.png"]
    assert run(checkpoint, photos / "a" / "1.png", tmp_path / "flat", *camera, "--no-panel") == 0
    assert files(tmp_path / "flat") == ["1_color.png", "1_depth.png"]


def test_point_clouds_without_intrinsics_are_refused(tmp_path, checkpoint, photos, capsys):
    assert run(checkpoint, photos, tmp_path / "out", "--ply") == 2
    assert "--ply needs the intrinsics of the images: give --field-of-view" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_broken_file_is_reported_and_the_others_are_predicted(tmp_path, checkpoint, photos, capfd):
    (photos / "a" / "0.png").write_bytes((photos / "a" / "1.png").read_bytes()[:3000])
    assert run(checkpoint, photos, tmp_path / "out", "--no-panel") == 1
    assert files(tmp_path / "out") == [f"{folder}/1_{kind}.png" for folder in "ab" for kind in ["color", "depth"]]
    assert "2 images done" in (printed := capfd.readouterr().out)
    assert "1 skipped" in printed


def test_the_frames_of_a_video_are_numbered(tmp_path, checkpoint):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (70, 50))
    for level in (0, 100, 200):
        writer.write(np.full((50, 70, 3), level, dtype=np.uint8))
    writer.release()
    assert run(checkpoint, tmp_path / "clip.avi", tmp_path / "out", "--no-panel") == 0
    expected = [f"clip/{n:06d}_{kind}.png" for n in range(3) for kind in ("color", "depth")]
    assert files(tmp_path / "out") == expected
    assert read_depth(tmp_path / "out" / expected[1]).shape == (50, 70)


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """Two frames of grey 51 and 204, in which depth is 1 m plus 10 m times the brightness: about 3 m and 9 m."""
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 64))
    for level in (51, 204):
        writer.write(np.full((64, 64, 3), level, dtype=np.uint8))
    writer.release()
    monkeypatch.setattr(ConstantDepth, "forward", lambda self, image: 1 + 10 * image[:, :1])
    return tmp_path / "clip.avi"


def colour_of(depth_m, near_m, far_m):
    """Red, green and blue of a depth, from the formula of the colour map."""
    pixel = torch.full((1, 1, 1, 1), depth_m)
    return to_uint8(colorize(pixel, near_m=near_m, far_m=far_m)[0]).numpy()[0, 0]


def colours_of(folder, frame):
    """Colour in the middle of the colour map and of the depth in the panel of a frame."""
    panel = cv2.imread(str(folder / "clip" / f"{frame:06d}_panel.png"))[..., ::-1]
    depth = crop(panel, place_in_panel((64, 64), 1))
    return cv2.imread(str(folder / "clip" / f"{frame:06d}_color.png"))[32, 32, ::-1], depth[100, 100]


def test_the_frames_of_a_video_share_one_range(tmp_path, checkpoint, clip, capsys):
    assert run(checkpoint, clip, tmp_path / "out", "--size", "64", "64") == 0
    near, far = (read_depth(tmp_path / "out" / "clip" / f"00000{k}_depth.png")[32, 32] / 1000 for k in range(2))
    assert (near, far) == pytest.approx((3, 9), abs=0.1)
    for frame, depth in enumerate((near, far)):
        for colour in colours_of(tmp_path / "out", frame):
            np.testing.assert_array_equal(colour, colour_of(depth, near, far))
    panel = cv2.imread(str(tmp_path / "out" / "clip" / "000001_panel.png"))
    np.testing.assert_allclose(crop(panel, place_in_panel((64, 64), 0)), 204, atol=2)  # the frame is still there
    bar = draw_figure([PictureRow("", (Picture("", np.zeros((64, 64, 3), np.uint8)),) * 2)], width=PANEL_WIDTH)
    top, left, height, width = bar.places[0][1]
    found = panel[top + height + 8, left : left + width, ::-1].astype(int)
    np.testing.assert_allclose(found, ColourBar(near, far).colours(width), atol=1)
    assert f"video clip: colours from {near:.3g} m (bright) to {far:.3g} m (dark)" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "ends"), [(["2", "20"], (2, 20)), (["image"], None)])
def test_a_range_can_be_given(tmp_path, checkpoint, clip, capsys, words, ends):
    assert run(checkpoint, clip, tmp_path / "out", "--size", "64", "64", "--range", *words) == 0
    for frame in range(2):
        depth = read_depth(tmp_path / "out" / "clip" / f"{frame:06d}_depth.png")[32, 32] / 1000
        for colour in colours_of(tmp_path / "out", frame):
            np.testing.assert_allclose(colour, colour_of(depth, *(ends or (depth, depth))), atol=1)
    assert ("colours from 2 m (bright) to 20 m (dark)" in capsys.readouterr().out) == (ends is not None)


def test_the_images_of_a_folder_share_a_range_on_request(tmp_path, checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(ConstantDepth, "forward", lambda self, image: 1 + 10 * image[:, :1])
    (tmp_path / "clip").mkdir()
    for frame, level in enumerate((51, 204)):
        cv2.imwrite(str(tmp_path / "clip" / f"{frame:06d}.png"), np.full((64, 64, 3), level, np.uint8))
    call = (checkpoint, tmp_path / "clip", tmp_path / "out" / "clip", "--size", "64", "64")
    assert run(*call, "--range", "all") == 0
    np.testing.assert_array_equal(colours_of(tmp_path / "out", 1)[0], colour_of(9.0, 3.0, 9.0))
    assert "all images: colours from 3 m (bright) to 9 m (dark)" in capsys.readouterr().out
    assert run(*call) == 0
    np.testing.assert_array_equal(colours_of(tmp_path / "out", 1)[0], colour_of(9.0, 9.0, 9.0))


def test_a_truncated_video_is_drawn_up_to_its_last_frame(tmp_path, checkpoint, clip, monkeypatch, capfd):
    from datamodules import prediction_images as image_files

    whole = image_files.read_video

    def torn(path):
        yield from whole(path)
        raise ValueError(f"video '{path}' ends after 2 of 9 frames")

    monkeypatch.setattr(image_files, "read_video", torn)
    assert run(checkpoint, clip, tmp_path / "out", "--size", "64", "64") == 1
    np.testing.assert_array_equal(colours_of(tmp_path / "out", 0)[1], colour_of(3.0, 3.0, 9.0))
    assert "1 skipped" in capfd.readouterr().out


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize(
    ("words", "ends"), [((), (3, 9)), (("image",), (3, 9)), (("all",), (3, 9)), (("2", "20"), (2, 20))]
)
def test_a_video_comes_out_of_a_video_with_one_range(tmp_path, checkpoint, clip, capfd, words, ends):
    given = ("--range", *words) if words else ()
    assert run(checkpoint, clip, tmp_path / "out", "--size", "64", "64", "--video", "--no-panel", *given) == 0
    frames, rate = frames_of(tmp_path / "out" / "clip_panel.mp4")
    assert len(frames) == 2
    assert rate == pytest.approx(10)
    assert {frame.shape for frame in frames} == {frames[0].shape}
    assert all(side % 2 == 0 for side in frames[0].shape[:2])
    for frame, (grey, metres) in zip(frames, ((51, 3.0), (204, 9.0)), strict=True):
        photo, depth = (crop(frame, place_in_panel((64, 64), k, VIDEO_WIDTH)) for k in range(2))
        np.testing.assert_allclose(photo[20:-20, 20:-20], grey, atol=12)
        middle = depth[20:-20, 20:-20].reshape(-1, 3)
        np.testing.assert_allclose(np.median(middle, axis=0), colour_of(metres, *ends), atol=12)
    assert files(tmp_path / "out")[-1] == "clip_panel.mp4"
    assert "[ERROR" not in capfd.readouterr().err


def test_smoothed_ranges_follow_the_frames(tmp_path, checkpoint, clip):
    arguments = ("--size", "64", "64", "--video", "--no-panel", "--smooth-range", "1e-3")
    assert run(checkpoint, clip, tmp_path / "out", *arguments) == 0
    frames, _ = frames_of(tmp_path / "out" / "clip_panel.mp4")
    # The ranges of the two frames, of one depth each, do not overlap: both have the colour of their own one.
    shown = [np.median(crop(frame, place_in_panel((64, 64), 1, VIDEO_WIDTH)), axis=(0, 1)) for frame in frames]
    np.testing.assert_allclose(shown[0], colour_of(3.0, 3.0, 3.0), atol=12)
    np.testing.assert_allclose(shown[1], shown[0], atol=6)


def test_a_video_that_ends_early_gives_the_frames_before_its_end(tmp_path, checkpoint, clip, monkeypatch, capfd):
    from datamodules import prediction_images as image_files

    whole = image_files.read_video

    def torn(path):
        yield next(whole(path))
        raise ValueError(f"video '{path}' ends after 1 of 9 frames")

    monkeypatch.setattr(image_files, "read_video", torn)
    assert run(checkpoint, clip, tmp_path / "out", "--size", "64", "64", "--video", "--no-panel") == 1
    assert len(frames_of(tmp_path / "out" / "clip_panel.mp4")[0]) == 1
    assert "1 skipped" in capfd.readouterr().out


def test_a_video_without_frames_gives_none(tmp_path, checkpoint, monkeypatch, capfd, caplog):
    (tmp_path / "clip.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom")
    assert run(checkpoint, tmp_path / "clip.mp4", tmp_path / "out", "--video") == 1
    assert not list(tmp_path.rglob("*_panel.mp4"))
    assert "skipped" in capfd.readouterr().out + caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--video"], "--video needs a video as input, but"),
        (["--smooth-range", "9"], "--smooth-range is about the video that --video writes"),
        (["--video", "--smooth-range", "0"], "--smooth-range is 0, but a number of frames above 0 is needed"),
        (["--video", "--smooth-range", "nan"], "--smooth-range is nan"),
        (["--video", "--smooth-range", "5", "--range", "1", "2"], "but --range 1 2 gives one range for all"),
        (["--html"], "--html needs the intrinsics of the images: give --field-of-view"),
    ],
)
def test_calls_about_videos_and_pages_that_cannot_be_are_refused(tmp_path, checkpoint, photos, capsys, arguments, said):
    assert run(checkpoint, photos, tmp_path / "out", *arguments) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_a_video_codec_that_is_missing_is_said_before_the_prediction(tmp_path, checkpoint, clip, monkeypatch, capsys):
    monkeypatch.setattr("lightning_modules.callbacks.video_file.CODECS", ())
    assert run(checkpoint, clip, tmp_path / "out", "--video") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert "can write no MP4 video" in line
    assert not (tmp_path / "out").exists()


def test_a_page_with_a_cloud_is_written_on_request(tmp_path, checkpoint, photos):
    arguments = ("--field-of-view", "60", "--no-panel", "--html")
    assert run(checkpoint, photos / "a" / "1.png", tmp_path / "out", *arguments) == 0
    assert files(tmp_path / "out") == ["1_cloud.html", "1_color.png", "1_depth.png"]
    page = (tmp_path / "out" / "1_cloud.html").read_text()
    assert '"name":"1"' in page
    assert "Plotly.newPlot" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["1"], "--range is '1'"),
        (["near", "far"], "two depths in metres"),
        (["8", "2"], "8 to 2 m, but 0 < near < far"),
        (["0", "2"], "0 < near < far"),
        (["1", "inf"], "0 < near < far"),
        (["nan", "2"], "0 < near < far"),
        (["1", "2", "3"], "two depths in metres"),
    ],
)
def test_invalid_ranges_are_refused(tmp_path, checkpoint, photos, capsys, words, said):
    assert run(checkpoint, photos, tmp_path / "out", "--range", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_the_training_size_comes_from_the_run(tmp_path, checkpoint, photos, capsys, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        ConstantDepth, "predict_step", lambda self, batch, _: sizes.append(batch["image"].shape) or self(batch["image"])
    )
    run_config = checkpoint.parent.parent / "config.yaml"
    run_config.write_text(yaml.safe_dump({"data": {"init_args": {"image_size": [194, 262]}}}))
    assert run(checkpoint, photos / "a" / "1.png", tmp_path / "out") == 0
    assert sizes == [(1, 3, 224, 288)]  # 194 x 262, padded to multiples of 32
    assert "note" not in capsys.readouterr().err
    run_config.unlink()
    assert run(checkpoint, photos / "a" / "1.png", tmp_path / "out") == 0
    assert sizes[1][2:] == (96, 160)  # 95 x 129
    assert "note: the image size of the training is unknown" in capsys.readouterr().err


def test_wrong_calls_return_two_with_one_sentence_and_write_nothing(tmp_path, checkpoint, photos, capsys):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign.ckpt").write_text("x")
    calls = {
        "no image and no video": (checkpoint, tmp_path / "empty", out),
        "does not exist": (checkpoint, tmp_path / "nowhere.png", out),
        "not a checkpoint": (tmp_path / "foreign.ckpt", photos, out),
        "checkpoint": (tmp_path / "nowhere.ckpt", photos, out),
        "lies in the input folder": (checkpoint, photos, photos / "out"),
        "has to lie between 5 and 170": (checkpoint, photos, out, "--field-of-view", "190"),
        "not allowed with": (checkpoint, photos, out, "--field-of-view", "60", "--k", "1", "1", "1", "1"),
        "has no data.init_args.image_size": (checkpoint, photos, out, "--config", str(tmp_path / "no.yaml")),
        "at least 1": (checkpoint, photos, out, "--size", "0", "64"),
    }
    for message, call in calls.items():
        assert run(*call) == 2
        assert message in capsys.readouterr().err
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert not out.exists()
    assert files(photos) == ["a/1.png", "b/1.png"]


def test_a_result_never_replaces_an_input(tmp_path, checkpoint, photos, capsys):
    truth = photos / "a" / "1_depth.png"
    cv2.imwrite(str(truth), np.full((4, 4), 1234, dtype=np.uint16))
    assert run(checkpoint, photos / "a" / "*.png", photos / "a") == 2
    assert "would replace the input" in capsys.readouterr().err
    assert (read_depth(truth) == 1234).all()


def test_a_write_error_is_one_sentence(tmp_path, checkpoint, photos, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a file where a folder has to be")
    assert run(checkpoint, photos, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "error: stopped after 0 images" in said
    assert f"'{tmp_path / 'out' / 'a'}' is a file, but a folder is needed" in said
    assert "Errno" not in said


def test_a_file_as_output_folder_is_refused_first(tmp_path, checkpoint, photos, capsys):
    (tmp_path / "taken").write_text("kept")
    for output in (tmp_path / "taken", tmp_path / "taken" / "deeper"):
        assert run(checkpoint, photos, output) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"error: '{tmp_path / 'taken'}' is a file, but a folder is needed")
    assert (tmp_path / "taken").read_text() == "kept"


def test_earlier_results_are_replaced_with_a_note(tmp_path, checkpoint, photos, capsys):
    call = (checkpoint, photos / "a" / "1.png", tmp_path / "out", "--no-panel", "--size", "64", "64")
    assert run(*call) == 0
    assert "earlier results" not in capsys.readouterr().err
    assert run(*call) == 0
    assert f"'{tmp_path / 'out'}' holds earlier results" in capsys.readouterr().err


@pytest.fixture
def canonical(tmp_path):
    """A model that predicts 1 m for a focal length of 50 pixels at the working size."""
    path = tmp_path / "canonical" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    module = SupervisedDepth(Affine(scale=0.0, shift=0.1), canonical_focal_px=50.0)
    write_checkpoint(path, module)
    checkpoint = torch.load(path, weights_only=True)
    network = {"class_path": "tests.helpers.Affine"}
    checkpoint["plumbline"]["model"] = {"network": network, "canonical_focal_px": 50.0}
    torch.save(checkpoint, path)
    return path


def test_flip_averages_with_the_mirrored_image(tmp_path, photos, checkpoint, capsys):
    path = tmp_path / "slanted" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    write_checkpoint(path, SupervisedDepth(Slanted()))
    content = torch.load(path, weights_only=True)
    content["plumbline"]["model"] = {"network": {"class_path": "tests.helpers.Slanted"}}
    torch.save(content, path)
    photo, size = photos / "a" / "1.png", ["--size", "97", "131", "--no-panel"]
    assert run(path, photo, tmp_path / "plain", *size) == 0
    assert run(path, photo, tmp_path / "flip", "--flip", *size) == 0
    plain, flip = (read_depth(tmp_path / name / "1_depth.png")[10] / 1000.0 for name in ("plain", "flip"))
    # 2 m at the left border of the network's picture (padded to 160 columns), 3 m at the right, whatever it shows.
    ramp = 2 + np.linspace(0, 1, 160)[:131]
    np.testing.assert_allclose(plain, ramp, atol=1e-3)
    share = np.interp((np.arange(131) + 0.5) / 131, [0, 0.05, 0.1, 0.9, 0.95, 1], [0, 0, 0.5, 0.5, 1, 1])
    np.testing.assert_allclose(flip, share * ramp + (1 - share) * ramp[::-1], atol=1e-3)
    assert run(checkpoint, photo, tmp_path / "none", "--flip") == 2
    assert "ConstantDepth is no depth module of this project: leave it out" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("fx", "fy"), [(131.0, 131.0), (262.0, 262.0), (200.0, 128.0)])
def test_depth_follows_the_focal_length_at_the_working_size(tmp_path, canonical, photos, capsys, fx, fy):
    # 97 x 131 becomes 49 x 66 (padded to 64 x 96, which leaves K alone).
    camera = ["--k", str(fx), str(fy), "65.5", "48.5"]
    assert run(canonical, photos / "a" / "1.png", tmp_path / "out", "--size", "48", "67", "--no-panel", *camera) == 0
    metres = np.sqrt(fx * 66 / 131 * fy * 49 / 97) / 50
    np.testing.assert_allclose(read_depth(tmp_path / "out" / "1_depth.png"), 1000 * metres, atol=0.501)
    assert "focal length" not in capsys.readouterr().err


@pytest.mark.parametrize("degrees", [None, 90.0])
def test_unknown_intrinsics_are_those_of_the_training_with_a_note(tmp_path, canonical, photos, capsys, degrees):
    if degrees is not None:
        checkpoint = torch.load(canonical, weights_only=True)
        checkpoint["plumbline"]["data"] = {"image_size": [48, 67], "assumed_field_of_view_degrees": degrees}
        torch.save(checkpoint, canonical)
    assert run(canonical, photos / "a" / "1.png", tmp_path / "out", "--size", "48", "67", "--no-panel") == 0
    focal = 131 / 2 / np.tan(np.radians((degrees or 60.0) / 2))  # of the photo; 97 x 131 becomes 49 x 66
    metres = focal * np.sqrt(66 / 131 * 49 / 97) / 50
    np.testing.assert_allclose(read_depth(tmp_path / "out" / "1_depth.png"), 1000 * metres, atol=0.501)
    (note,) = capsys.readouterr().err.splitlines()
    assert f"field of view of {degrees or 60:g} degrees is assumed" in note
    assert "--field-of-view" in note


CAMERAS = {
    "normalised": (["0.9", "1.2", "0.5", "0.5"], 2, "normalised by the image size"),
    "negative": (["-50", "50", "65.5", "48.5"], 2, "fx=-50"),
    "of an image twice as large": (["240", "240", "131", "97"], 1, "of another image size, about 262x194"),
    "of the image before it was turned": (["120", "120", "48.5", "65.5"], 1, "turned by 90 degrees"),
    "in millimetres": (["2.1", "3.1", "65.5", "48.5"], 1, "field of view"),
}


@pytest.mark.parametrize("case", CAMERAS)
def test_impossible_intrinsics_are_refused(tmp_path, checkpoint, photos, capfd, caplog, case):
    camera, code, message = CAMERAS[case]
    assert run(checkpoint, photos / "a" / "1.png", tmp_path / "out", "--no-panel", "--k", *camera) == code
    assert message in capfd.readouterr().err + caplog.text
    assert not list(tmp_path.glob("out/*.png"))


@pytest.mark.parametrize(("depth_scale", "said"), [("image_max", True), ("10m", False)])
def test_relative_depth_causes_a_note(tmp_path, checkpoint, photos, capsys, depth_scale, said):
    settings = {"image_size": [64, 64], "depth_scale": depth_scale}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({"data": {"init_args": settings}}))
    assert run(checkpoint, photos / "a" / "1.png", tmp_path / "out", "--no-panel") == 0
    assert ("not metric" in capsys.readouterr().err) == said


def write_calibration(path, **values):
    defaults = {"output": "depth", "shift": 0.25, "shift_interval": (0.2, 0.3), "domain": "d", "teacher": "t"}
    Calibration(**{**defaults, "images": 9, **values}).save(path)
    return path


def read_ply(path):
    header, body = path.read_bytes().split(b"end_header\n", 1)
    kinds = [line.split() for line in header.decode().splitlines() if line.startswith("property")]
    types = {"float": "<f4", "uchar": "u1"}
    return np.frombuffer(body, dtype=[(name, types[kind]) for _, kind, name in kinds])


@pytest.mark.parametrize(("losses", "warned"), [(["l1"], True), (["ssi"], False)])
def test_a_calibration_of_a_metric_network_causes_a_warning(tmp_path, canonical, photos, capsys, losses, warned):
    checkpoint = torch.load(canonical, weights_only=True)
    checkpoint["plumbline"]["model"]["loss_weights"] = dict.fromkeys(losses, 1.0)
    torch.save(checkpoint, canonical)
    calibration = write_calibration(tmp_path / "c.yaml", shift=1.9, shift_interval=(1.8, 2.0))
    call = ("--calibration", str(calibration), "--no-panel", "--field-of-view", "60")
    assert run(canonical, photos / "a" / "1.png", tmp_path / "out", *call) == 0
    assert ("predicts metres, and the calibration adds +1.9 m to the depth" in capsys.readouterr().err) == warned


@pytest.mark.parametrize(("output", "metres"), [("depth", 2.3456 + 0.25), ("disparity", 1 / (1 / 2.3456 + 0.25))])
def test_a_calibration_changes_depth_and_point_cloud_alike(tmp_path, checkpoint, photos, capsys, output, metres):
    settings = {"field_of_view_degrees": 70.0, "field_of_view_interval": (60.0, 80.0)}
    calibration = write_calibration(tmp_path / "c.yaml", output=output, **settings)
    call = ("--calibration", str(calibration), "--no-panel", "--size", "97", "131", "--ply")
    assert run(checkpoint, photos / "a" / "1.png", tmp_path / "out", *call) == 0
    assert files(tmp_path / "out") == ["1.ply", "1_color.png", "1_depth.png", "1_side.png"]
    assert (read_depth(tmp_path / "out" / "1_depth.png") == round(1000 * metres)).all()
    cloud = read_ply(tmp_path / "out" / "1.ply")
    np.testing.assert_allclose(cloud["z"], metres, rtol=1e-5)
    half_width = np.tan(np.radians(35)) * metres * 130 / 131  # to the centres of the outermost pixels
    np.testing.assert_allclose(cloud["x"].max(), half_width, rtol=1e-5)
    (note,) = capsys.readouterr().err.splitlines()
    assert f"adds 0.25 to the {output}" in note
    assert "found for 't' on 9 images of 'd'" in note


@pytest.mark.parametrize(
    ("camera", "half_width", "said"),
    [
        (["--field-of-view", "90"], 1.0, "--field-of-view 90 is used, not the calibration's field of view of 70"),
        (["--field-of-view", "70"], np.tan(np.radians(35)), None),
        (["--k", "131", "131", "65.5", "48.5"], 0.5, "--k is used, not the calibration's field of view of 70"),
    ],
)
def test_given_intrinsics_override_those_of_the_calibration(
    tmp_path, checkpoint, photos, capsys, camera, half_width, said
):
    calibration = write_calibration(tmp_path / "c.yaml", field_of_view_degrees=70.0)
    call = ("--calibration", str(calibration), "--no-panel", "--size", "97", "131", "--ply", *camera)
    assert run(checkpoint, photos / "a" / "1.png", tmp_path / "out", *call) == 0
    cloud = read_ply(tmp_path / "out" / "1.ply")
    np.testing.assert_allclose(cloud["x"].max() / (2.3456 + 0.25), half_width * 130 / 131, rtol=1e-5)
    notes = capsys.readouterr().err
    assert ("is used, not" in notes) == (said is not None)
    assert said is None or said in notes


def test_the_field_of_view_of_a_calibration_is_the_camera_of_a_canonical_model(tmp_path, canonical, photos, capsys):
    calibration = write_calibration(tmp_path / "c.yaml", shift=0.0, shift_interval=(0, 0), field_of_view_degrees=60.0)
    call = ("--calibration", str(calibration), "--size", "48", "67", "--no-panel")
    assert run(canonical, photos / "a" / "1.png", tmp_path / "out", *call) == 0
    focal = 131 / 2 / np.tan(np.radians(30))
    metres = focal * np.sqrt(66 / 131 * 49 / 97) / 50
    np.testing.assert_allclose(read_depth(tmp_path / "out" / "1_depth.png"), 1000 * metres, atol=0.501)
    assert "focal length" not in capsys.readouterr().err


def test_a_calibration_without_intrinsics_gives_no_point_cloud(tmp_path, checkpoint, photos):
    call = ("--calibration", str(write_calibration(tmp_path / "c.yaml")), "--no-panel")
    assert run(checkpoint, photos / "a" / "1.png", tmp_path / "out", *call) == 0
    assert files(tmp_path / "out") == ["1_color.png", "1_depth.png"]


def test_a_broken_calibration_is_one_sentence(tmp_path, checkpoint, photos, capsys):
    broken = tmp_path / "c.yaml"
    broken.write_text("shift: 3\n")
    for path, said in ((broken, "lacks output"), (tmp_path / "none.yaml", "none.yaml")):
        assert run(checkpoint, photos, tmp_path / "out", "--calibration", str(path)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert said in line
    assert not (tmp_path / "out").exists()


def teach(teacher, source, output, *more):
    return main(["--teacher", str(teacher), "--input", str(source), "--output", str(output), *more])


def test_a_hugging_face_network_replaces_a_checkpoint(tmp_path, photos, capsys):
    make_depth_anything(tmp_path / "net")
    call = ("--field-of-view", "60", "--size", "64", "64", "--no-panel", "--ply")
    assert teach(tmp_path / "net", photos / "a" / "1.png", tmp_path / "plain", *call) == 0
    assert "predicts relative depth" in (said := capsys.readouterr().err)
    assert "up to scale and shift (--calibration)" in said
    calibration = write_calibration(tmp_path / "c.yaml", output="disparity")
    call = (*call, "--calibration", str(calibration))
    assert teach(tmp_path / "net", photos / "a" / "1.png", tmp_path / "right", *call) == 0
    assert "correct up to scale" in capsys.readouterr().err
    before, after = (read_ply(tmp_path / folder / "1.ply")["z"] for folder in ("plain", "right"))
    assert before.std() > 0
    # The shift is one of the network's own unit: beside the nearest point, disparity gains the same share everywhere.
    slope, gained = np.polyfit(1 / before, 1 / after, 1)
    assert gained > 0.01
    assert slope + gained == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(1 / after, slope / before + gained, rtol=1e-4)
    assert teach(tmp_path / "net", photos / "a" / "1.png", tmp_path / "size") == 0
    assert "image size of the training is unknown" not in capsys.readouterr().err


def test_a_teacher_or_a_checkpoint_and_not_both(tmp_path, checkpoint, photos, capsys):
    assert teach(tmp_path / "net", photos, tmp_path / "out", "--checkpoint", str(checkpoint)) == 2
    assert "not allowed with" in capsys.readouterr().err
    assert teach(tmp_path, photos, tmp_path / "out") == 2
    assert "depth maps, not a network" in capsys.readouterr().err  # a folder of .png
    (tmp_path / "empty").mkdir()
    assert teach(tmp_path / "empty", photos, tmp_path / "out") == 2
    assert "is a folder without a config.json and without .png or .npy: a teacher is" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
