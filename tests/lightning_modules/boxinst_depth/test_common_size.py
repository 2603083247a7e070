import torch

from geometry.processes import global_batch
from lightning_modules.boxinst_depth.common_size import MAPS, with_common_size
from tests.data.make_instance_batch import HEIGHT, WIDTH, rectangles_batch
from tests.two_processes import in_two_processes


def padded_batch(rank):
    """Shapes and contents after padding of a batch that is 32 pixels higher or, on the other process, wider."""
    batch = rectangles_batch()
    more = ((0, 0, 0, 32), (0, 32, 0, 0))[rank]
    own = batch | {key: torch.nn.functional.pad(batch[key], more) for key in MAPS if key in batch}
    outside = with_common_size(own)
    with global_batch():
        padded = with_common_size(own)
        again = with_common_size(padded)
    return {
        "outside": outside is own,
        "shapes": {key: tuple(padded[key].shape[-2:]) for key in MAPS if key in padded},
        "types": all(padded[key].dtype == batch[key].dtype for key in batch if key in MAPS),
        "content": all(torch.equal(padded[key][..., :HEIGHT, :WIDTH], batch[key]) for key in MAPS if key in batch),
        "padding": sum(float(padded[key].double().sum() - batch[key].double().sum()) for key in MAPS),
        "boxes": padded["boxes"] is own["boxes"],
        "again": again is padded,
    }


def test_batches_of_two_processes_get_the_height_of_one_and_the_width_of_the_other(tmp_path):
    for found in in_two_processes(padded_batch, tmp_path):
        assert found["outside"]
        assert found["shapes"] == dict.fromkeys(MAPS, (HEIGHT + 32, WIDTH + 32))
        assert found["types"]
        assert found["content"]
        assert found["padding"] == 0
        assert found["boxes"]
        assert found["again"]


def test_a_single_process_keeps_its_batch():
    batch = rectangles_batch()
    with global_batch():
        assert with_common_size(batch) is batch
