"""Images brought to the same contrast and then whitened, as BENN's and XNOR-Net's CIFAR-10 was."""

import torch
from torch import Tensor

# Usual constants of the two steps, after Goodfellow et al. 2013 (arXiv:1302.4389, section 5.2).
GCN_SCALE, GCN_BIAS, ZCA_BIAS = 55.0, 10.0, 0.1
# Images at a time, to sum up what belongs to all of them.
CHUNK = 5000


def same_contrast(x: Tensor) -> Tensor:
    """Global contrast normalisation: `55 (x - mean) / sqrt(10 + variance)` of each image's numbers.

    Args:
        x: images of any type, (n, ...).

    Returns:
        float32 (n, numbers).
    """
    flat = x.flatten(1).float()
    flat = flat - flat.mean(1, keepdim=True)
    variance = flat.square().sum(1, keepdim=True) / (flat.shape[1] - 1)
    return flat.mul_(GCN_SCALE).div_((variance + GCN_BIAS).sqrt())


class Whitening:
    """ZCA whitening after `same_contrast`: `(x - mean) V (E + 0.1)^(-1/2) V^T`, with the
    covariance `V E V^T` of the images it is made from.

    Args:
        images: those to learn from, any type, (n, ...).
    """

    def __init__(self, images: Tensor) -> None:
        numbers, count = images[0].numel(), len(images)
        total = torch.zeros(numbers, dtype=torch.float64)
        products = torch.zeros(numbers, numbers, dtype=torch.float64)
        for part in torch.split(images, CHUNK):
            x = same_contrast(part).double()
            total += x.sum(0)
            products += x.T @ x
        mean = total / count
        covariance = products / count - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        scale = (values.clamp(min=0) + ZCA_BIAS).rsqrt()
        self.mean = mean.float()
        self.matrix = ((vectors * scale) @ vectors.T).float()

    def __call__(self, x: Tensor) -> Tensor:
        """Whitened images, float32 (n, ...), from images as they are in the data set."""
        mean, matrix = self.mean.to(x.device), self.matrix.to(x.device)
        white: Tensor = (same_contrast(x) - mean) @ matrix
        return white.view(x.shape)
