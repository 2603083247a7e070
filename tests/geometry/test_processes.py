import pytest
import torch

from geometry.processes import (
    denominator,
    global_batch,
    max_over_processes,
    mean_over_processes,
    n_processes,
    sum_over_processes,
    sum_with_all_gradients,
)
from tests.two_processes import in_two_processes


def counts(rank):
    """Everything on counts 3 and 8 of two processes; also outside of the context, where nothing is communicated."""
    own = torch.tensor([3, 8][rank])
    value = torch.tensor([3.0, 8.0][rank], requires_grad=True)
    outside = (n_processes(), float(denominator(own)), float(mean_over_processes(value)))
    with global_batch():
        shared = torch.tensor(float(own), requires_grad=True)
        (own * sum_with_all_gradients(shared)).backward()
        root = mean_over_processes(value).sqrt()
        root.backward()
        return {
            "outside": outside,
            "processes": n_processes(),
            "denominator": float(denominator(own)),
            "several": denominator(torch.stack([own, 0 * own])).tolist(),
            "least": float(denominator(0.0 * value, least=1e-6)),
            "exact": float(denominator(own.double() + 2**40)),
            "sum": float(sum_over_processes(value)),
            "max": float(max_over_processes(-value)),
            "mean": float(mean_over_processes(value)),
            "root": (float(root), float(value.grad)),
            "shared": float(shared.grad),
            "type": str(denominator(own).dtype),
        }


def test_counts_means_and_maxima_are_those_of_all_processes(tmp_path):
    for rank, found in enumerate(in_two_processes(counts, tmp_path)):
        own = [3.0, 8.0][rank]
        assert found["outside"] == (1, own, own)
        assert found["processes"] == 2
        assert found["denominator"] == 5.5  # (3 + 8) / 2
        assert found["several"] == [5.5, 0.5]  # no element at all: at least 1 over both processes
        assert found["least"] == pytest.approx(5e-7)
        assert found["exact"] == 2**40 + 5.5
        assert (found["sum"], found["max"], found["mean"]) == (11.0, -3.0, 5.5)
        # d sqrt(m) / dm at the mean of both, on either process
        assert found["root"] == pytest.approx((5.5**0.5, 0.5 / 5.5**0.5))
        assert found["shared"] == 11.0  # 3 from the loss of one process, 8 from that of the other
        assert found["type"] == "torch.float32"


def test_a_single_process_keeps_its_own_values_without_a_copy():
    value = torch.tensor([0.5, 2.0], requires_grad=True)
    with global_batch():
        assert n_processes() == 1
        assert mean_over_processes(value) is value
        assert sum_with_all_gradients(value) is value
        assert sum_over_processes(value).data_ptr() == value.data_ptr()
        assert max_over_processes(value).data_ptr() == value.data_ptr()
    count = torch.tensor([0, 7])
    assert denominator(count).tolist() == [1, 7]
    assert denominator(count).dtype == torch.int64  # the division is then the one without this function, bit for bit
    assert denominator(value, least=1.0).tolist() == [1.0, 2.0]
    assert not denominator(value).requires_grad


def test_the_context_ends_with_an_error():
    with pytest.raises(RuntimeError), global_batch():
        raise RuntimeError
    assert n_processes() == 1
