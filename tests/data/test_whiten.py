"""Contrast and whitening against their definitions."""

import pytest
import torch

from cl_bnn.data.whiten import GCN_BIAS, GCN_SCALE, ZCA_BIAS, Whitening, same_contrast


def images(count: int = 400) -> torch.Tensor:
    """Bytes with a strong correlation between neighbours."""
    source = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 3, 4, 4, generator=source)
    smooth = noise + noise.roll(1, 3) + noise.roll(1, 2)
    return (smooth * 30 + 128).clamp(0, 255).to(torch.uint8)


def test_every_image_has_the_same_contrast() -> None:
    found = same_contrast(images())
    assert found.shape == (400, 48) and found.dtype == torch.float32
    assert found.mean(1).abs().max() < 1e-4
    # Far above the bias, the deviation is the scale.
    assert found.std(1).max() < GCN_SCALE < found.std(1).min() * 1.02
    flat = torch.full((1, 3, 4, 4), 7, dtype=torch.uint8)
    assert torch.equal(same_contrast(flat), torch.zeros(1, 48))
    by_hand = torch.tensor([[1, 3, 5]], dtype=torch.uint8)
    expected = GCN_SCALE * 2 / (4 + GCN_BIAS) ** 0.5
    assert same_contrast(by_hand)[0].tolist() == pytest.approx([-expected, 0, expected])


def test_whitened_images_are_uncorrelated() -> None:
    """Variances are E / (E + 0.1): 1 but where an image has none, its own mean."""
    data = images()
    found = Whitening(data)(data)
    assert found.shape == data.shape
    flat = found.flatten(1).double()
    covariance = (flat - flat.mean(0)).T @ (flat - flat.mean(0)) / len(flat)
    values = torch.linalg.eigvalsh(covariance)
    assert values[0] < 1e-4, "an image's mean was taken away"
    torch.testing.assert_close(values[1:], torch.ones(47).double(), atol=2e-3, rtol=0)


def test_whitening_stays_near_the_image() -> None:
    """Of all whitenings ZCA is the one whose matrix is symmetric."""
    whitening = Whitening(images())
    torch.testing.assert_close(whitening.matrix, whitening.matrix.T)


def test_other_images_are_whitened_by_those_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images()
    whitening = Whitening(data)
    one = whitening(data[:1])
    torch.testing.assert_close(one, whitening(data)[:1])
    monkeypatch.setattr("cl_bnn.data.whiten.CHUNK", 37)
    torch.testing.assert_close(Whitening(data).matrix, whitening.matrix)
    assert ZCA_BIAS == 0.1
