import warnings

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from lightning_modules.callbacks.prediction_writer import depth_to_millimetres
from tests.data.make_constant_depth import RedDepth, write_checkpoint
from tests.data.make_teachers import save_affine_checkpoint, save_instances_checkpoint, save_segmenter_checkpoint
from tools.model import load_model, pixels_of
from tools.predict import main
from tools.prediction_results import Predictions


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    Image.fromarray(photo(97, 131)).save(folder / "a" / "1.png")
    Image.fromarray(photo(80, 60, seed=1)).save(folder / "2.png")
    return folder


@pytest.fixture
def affine(tmp_path):
    save_affine_checkpoint(tmp_path / "affine.ckpt")
    return tmp_path / "affine.ckpt"


@pytest.fixture
def red(tmp_path):
    """One metre plus ten times the red channel, predicted without a change of size by ``size``."""
    return load_model(write_checkpoint(tmp_path / "red.ckpt", RedDepth(2.0, None)), "cpu")


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def command(checkpoint, photos, output, *words):
    words = ["--input", str(photos), "--output", str(output), "--accelerator", "cpu", *words]
    assert main(["--checkpoint", str(checkpoint), *words]) == 0
    return contents(output)


@pytest.mark.filterwarnings("ignore:the image size of the training is unknown")
def test_depth_is_that_of_make_predict_bit_for_bit(tmp_path, photos, affine):
    wanted = command(affine, photos, tmp_path / "command", "--field-of-view", "70", "--ply", "--flip")
    found = load_model(affine, "cpu").predict(photos, field_of_view=70, flip=True)
    assert contents(found.save(tmp_path / "python", ply=True)) == wanted
    assert [result.name for result in found] == ["2", "a/1"]
    one = found[1]
    assert one.depth_m.shape == (97, 131)
    assert (one.image == photo(97, 131)).all()
    written = cv2.imread(str(tmp_path / "command" / "a" / "1_depth.png"), cv2.IMREAD_UNCHANGED)
    assert (depth_to_millimetres(torch.from_numpy(one.depth_m)[None]) == written).all()
    assert len(np.unique(written)) > 100
    header = wanted["a/1.ply"].split(b"end_header\n")[0]
    assert f"element vertex {len(one.points)}\n".encode() in header
    assert one.points.dtype == one.colours.dtype == np.float32
    assert one.colours.shape == one.points.shape
    assert one.metric


@pytest.mark.filterwarnings("ignore:the image size of the training is unknown")
def test_instances_are_those_of_make_predict_bit_for_bit(tmp_path, photos):
    checkpoint = tmp_path / "instances.ckpt"
    torch.manual_seed(0)
    save_instances_checkpoint(checkpoint)
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["network.head.logits.bias"].fill_(0.5)
    torch.save(content, checkpoint)
    wanted = command(checkpoint, photos, tmp_path / "command", "--score-threshold", "0.2")
    found = load_model(checkpoint, "cpu").predict(photos, score_threshold=0.2)
    assert contents(found.save(tmp_path / "python")) == wanted
    one = found[1]
    assert len(one.scores) == len(one.boxes) == len(one.labels) == len(one.class_names) > 0
    assert one.masks.shape == (len(one.scores), 97, 131)
    assert set(one.class_names) <= {"person", "Fahrrad Ü"}
    with pytest.raises(AttributeError, match="predicts instances, so its results have no 'depth_m'"):
        _ = one.depth_m


@pytest.mark.filterwarnings("ignore:the image size of the training is unknown")
def test_classes_are_those_of_make_predict_bit_for_bit(tmp_path, photos):
    checkpoint = tmp_path / "segmenter.ckpt"
    save_segmenter_checkpoint(checkpoint, n_classes=5)
    wanted = command(checkpoint, photos, tmp_path / "command")
    found = load_model(checkpoint, "cpu").predict(photos)
    assert contents(found.save(tmp_path / "python")) == wanted
    assert found[0].classes.shape == (80, 60)
    assert set(np.unique(found[0].classes)) <= set(found[0].class_names)


def test_results_of_two_kinds_are_not_saved_together(tmp_path, red):
    save_segmenter_checkpoint(tmp_path / "segmenter.ckpt", n_classes=5)
    of_depth = red.predict(photo(8, 8), size=(8, 8), names=["a"])
    of_classes = load_model(tmp_path / "segmenter.ckpt", "cpu").predict(photo(64, 96), size=(64, 96), names=["b"])
    with pytest.raises(ValueError, match="'a' has depth and 'b' classes of pixels: save the results of each kind"):
        Predictions([of_depth, of_classes]).save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_form_of_an_image_gives_the_same_depth(tmp_path, red):
    pixels = photo(64, 96)
    wanted = (1 + 10 * (torch.from_numpy(pixels).float() / 255)[..., 0]).numpy()
    Image.fromarray(pixels).save(tmp_path / "p.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    forms = [
        tmp_path / "p.png", str(tmp_path / "p.png"), pixels, pixels / 255, Image.fromarray(pixels), tensor,
        tensor.float() / 255,
    ]  # fmt: skip
    for form in forms:
        found = red.predict(form, size=(64, 96))
        np.testing.assert_array_equal(found.depth_m, wanted)
    several = red.predict(forms, size=(64, 96), batch_size=3)
    assert [result.name for result in several] == ["p", "p", *(f"{n:06d}" for n in range(2, 7))]
    stack = red.predict(torch.stack([tensor, tensor]), size=(64, 96), batch_size=2, names=["a", "b"])
    assert [result.name for result in stack] == ["a", "b"]
    for result in (*several, *stack):
        np.testing.assert_array_equal(result.depth_m, wanted)
    assert len(red.predict([], size=(64, 96))) == 0


def test_images_of_several_sizes_keep_their_order_in_batches(red):
    sizes = [(64, 64), (64, 64), (32, 64), (64, 64)]
    found = red.predict([photo(*size, seed=k) for k, size in enumerate(sizes)], size=(64, 64), batch_size=4)
    assert [result.depth_m.shape for result in found] == sizes
    assert [int(result.image[0, 0, 0]) for result in found] == [
        int(photo(*size, seed=k)[0, 0, 0]) for k, size in enumerate(sizes)
    ]


def test_bad_images_and_options_are_one_sentence(tmp_path, red):
    pixels, size = photo(8, 8), {"size": (8, 8)}
    for image, said in [
        (pixels[..., 0], r"shape \(8, 8\), but \(H, W, 3\)"),
        (torch.zeros(8, 8, 3), r"shape \(8, 8, 3\), but \(3, H, W\)"),
        (pixels.astype(np.int64), "values of type int64"),
        (pixels.astype(np.float32), r"values from \d+ to 2\d\d"),
        (np.full((8, 8, 3), np.nan), "values from nan to nan"),
        ([None], "an image is a NoneType"),
        ({"a": pixels}, "an image is a dict"),
        (b"photo.png", "an image is a bytes"),
        (Image.new("RGB", (0, 5)), r"size \(0, 5\), but at least one pixel"),
    ]:
        with pytest.raises(ValueError, match=said):
            red.predict(image, **size)
    with pytest.raises(ValueError, match="names has 2 entries for 1 images"):
        red.predict(pixels, names=["a", "b"], **size)
    with pytest.raises(ValueError, match="two results are named 'a'"):
        red.predict([pixels, pixels], names=["a", "a"], **size).save(tmp_path)
    with pytest.raises(ValueError, match="batch_size is 0"):
        red.predict(pixels, batch_size=0, **size)
    with pytest.raises(ValueError, match=r"k is \(1, 2\), but has to be four numbers"):
        red.predict(pixels, k=(1, 2), **size)
    with pytest.raises(ValueError, match="predicts depth, to which score_threshold cannot apply"):
        red.predict(pixels, score_threshold=0.5, **size)
    with pytest.raises(ValueError, match="points need the intrinsics"):
        _ = red.predict(pixels, **size).points
    with pytest.raises(AttributeError, match="a network of instances has it"):
        _ = red.predict(pixels, **size).masks
    with pytest.raises(FileNotFoundError, match="nowhere"):
        red.predict(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="device is 'tpu'"):
        load_model(tmp_path / "red.ckpt", "tpu")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 5}, "k is 5, but has to be four numbers"),
        ({"k": "1234"}, "k is '1234', but has to be four numbers"),
        ({"k": np.eye(3)}, "k is array"),
        ({"size": 64}, "size is 64, but has to be height and width"),
        ({"size": "64"}, "size is '64', but has to be height and width"),
        ({"size": (64, 64, 3)}, "size is"),
        ({"size": (64.5, 64)}, "two whole numbers"),
        ({"field_of_view": "60"}, "field_of_view is '60', but has to be a number of degrees"),
        ({"batch_size": 1.5}, r"batch_size is 1\.5"),
        ({"batch_size": "2"}, "batch_size is '2'"),
        ({"names": "ab"}, "names is the text 'ab'"),
        ({"score_threshold": 0.0}, "score_threshold cannot apply"),
    ],
)
def test_options_of_a_wrong_form_are_one_sentence(red, options, said):
    with pytest.raises(ValueError, match=said):
        red.predict([photo(8, 8), photo(8, 8)], **({"size": (8, 8)} | options))


@pytest.mark.parametrize("form", [np.array, torch.tensor, list])
def test_intrinsics_are_a_list_an_array_or_a_tensor(red, form):
    pixels = photo(64, 64)
    found = red.predict(pixels, k=form([50.0, 60.0, 32.0, 31.0]), size=np.array([64, 64]))
    np.testing.assert_array_equal(found.points, red.predict(pixels, k=(50, 60, 32, 31), size=(64, 64)).points)


def test_a_tensor_of_bfloat16_is_an_image(red):
    tensor = torch.zeros(3, 64, 64, dtype=torch.bfloat16)
    tensor[0] = 0.5
    assert red.predict(tensor, size=(64, 64)).depth_m[0, 0] == pytest.approx(1 + 10 * 128 / 255)


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_modes_of_pil_that_would_be_clipped_are_refused(mode):
    with pytest.raises(ValueError, match=f"mode '{mode}'"):
        pixels_of(Image.new(mode, (4, 4), 1000))


def test_an_empty_path_is_not_the_current_folder(red):
    with pytest.raises(FileNotFoundError, match="the input is an empty text"):
        red.predict("", size=(64, 64))


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch, red):
    monkeypatch.chdir(tmp_path)
    found = red.predict(photo(8, 8), size=(8, 8))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TypeError):
        found.save(None)
    assert sorted(tmp_path.iterdir()) == before


def test_broken_files_raise_when_named_and_are_left_out_of_a_folder(tmp_path, photos, red):
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match="broken"):
        red.predict(photos / "broken.png", size=(64, 64))
    with pytest.warns(UserWarning, match=r"skipped: .*broken"):
        found = red.predict(photos, size=(64, 64))
    assert [result.name for result in found] == ["2", "a/1"]


def test_an_unknown_camera_is_a_warning_once(photos, affine):
    model = load_model(affine, "cpu")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.predict([photos / "2.png", photos / "2.png"])
        model.predict(photos / "2.png")
    said = [str(one.message) for one in caught]
    assert sum("give field_of_view=DEGREES or k=(FX, FY, CX, CY)" in text for text in said) == 1
    assert sum("the image size of the training is unknown" in text for text in said) == 1


def test_pictures_with_transparency_and_grey_ones_are_read_as_colours():
    grey = Image.fromarray(photo(4, 5)[..., 0])
    assert pixels_of(grey).shape == (4, 5, 3)
    assert pixels_of(Image.new("RGBA", (5, 4))).shape == (4, 5, 3)
