import torch

from cl_bnn.data import Dataset, Split


def test_normalise_is_per_channel() -> None:
    empty = Split(torch.zeros(0, 3, 1, 2, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    data = Dataset("rgb", empty, empty, (0.0, 0.5, 0.2), (1.0, 0.5, 0.1), n_classes=2)
    x = torch.tensor([[[0, 255]], [[0, 255]], [[51, 102]]], dtype=torch.uint8)
    expected = torch.tensor([[[0.0, 1.0]], [[-1.0, 1.0]], [[0.0, 2.0]]])
    torch.testing.assert_close(data.normalise(x), expected)
    torch.testing.assert_close(data.normalise(x.expand(4, 5, 3, 1, 2))[3, 4], expected)
    assert x.tolist() == [[[0, 255]], [[0, 255]], [[51, 102]]], "the images are left as they are"


def test_what_is_kept_for_the_next_batch_has_no_other_type() -> None:
    """Torch's default type may have been another one when it was made."""
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    half = Split(x, torch.zeros(1, dtype=torch.int64))
    data = Dataset("bytes", half, half, (1 / 3,), (1 / 7,), n_classes=2)
    torch.set_default_dtype(torch.float64)
    try:
        data.normalise(x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(data.normalise(x), (x / 255 - torch.tensor(1 / 3)) / torch.tensor(1 / 7))
