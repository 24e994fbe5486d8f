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
