"""The kernels of the photometric error in chunks of any size; their values are checked in test_photometric.py."""

import pytest
import torch

from losses import photometric_kernels
from losses.photometric import photometric_error


@pytest.mark.parametrize("elements", [1, 200, 400])
def test_the_size_of_the_chunks_does_not_matter(monkeypatch, elements):
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(5, 3, 7, 9, generator=generator, dtype=torch.float64)
    images = torch.rand(5, 3, 3, 7, 9, generator=generator, dtype=torch.float64).requires_grad_()
    results = []
    for size in (10**9, elements):
        monkeypatch.setattr(photometric_kernels, "CHUNK_ELEMENTS", size)
        error = photometric_error(images, target=target)
        results.append((error, *torch.autograd.grad(error.square().sum(), images)))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-12)
