"""Images in folders: how they are cut, that batches can be repeated, and files that are broken."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import images
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import v2

from cl_bnn import runner
from cl_bnn.benchmarks import folder as folder_benchmark
from cl_bnn.data import folder as module
from cl_bnn.data.crops import AREA, ASPECT, central_crop, random_crop
from cl_bnn.data.folder import Decoders, FolderView
from cl_bnn.errors import UserError
from cl_bnn.strategies.loading import StreamedBatches, view_behind

BICUBIC = v2.InterpolationMode.BICUBIC
CPU = torch.device("cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return images.pictures(tmp_path)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.RandomState(0).randint(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def everything(view: FolderView, seed: int, batch_size: int = 4) -> torch.Tensor:
    """All images in order, batch by batch."""
    plan = list(torch.arange(len(view)).split(batch_size))
    return torch.cat([x for x, _ in Decoders(view).stream(plan, seed)])


# Geometry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(400, 256), (256, 300), (256, 256)])
def test_of_256_pixels_the_central_224_are_taken_as_they_are(width: int, height: int) -> None:
    image = noise(width, height)
    expected = v2.functional.center_crop(image, [224, 224])
    assert np.array_equal(np.asarray(central_crop(image, 224)), np.asarray(expected))


@pytest.mark.parametrize(("width", "height", "side"), [(500, 375, 328), (224, 224, 196)])
def test_the_central_crop_is_resized_by_bicubic_interpolation(
    width: int, height: int, side: int
) -> None:
    """The side is 7/8 of the shorter one, rounded down: 328.125 and 196."""
    image = noise(width, height)
    crop = v2.functional.center_crop(image, [side, side])
    expected = v2.functional.resize(crop, [224, 224], BICUBIC)
    assert np.array_equal(np.asarray(central_crop(image, 224)), np.asarray(expected))


def coordinates(width: int, height: int) -> Image.Image:
    """A picture of its own coordinates: red is the column, green the row."""
    rows, columns = np.indices((height, width), dtype=np.uint8)
    return Image.fromarray(np.stack([columns, rows, 0 * rows], 2))


def test_of_two_middles_the_central_crop_takes_the_right_and_lower_one() -> None:
    """The side of 7 leaves one of 8 columns, and two of 9 rows."""
    crop = np.asarray(central_crop(coordinates(8, 9), 7))
    assert crop[0, :, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert crop[:, 0, 1].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_random_crops_are_distributed_like_torchvisions() -> None:
    """Where a crop was, its pixels tell."""
    side, n = 256, 400
    picture = coordinates(side, side)
    torch.manual_seed(3)
    change = random_crop(64)
    crops = torch.stack([change(picture) for _ in range(n)]).float()
    assert crops.shape == (n, 3, 64, 64)
    # 63 of 64 steps lie between the middles of the first and the last pixel.
    width = (crops[:, 0, 32, -1] - crops[:, 0, 32, 0]) * 64 / 63
    height = (crops[:, 1, -1, 32] - crops[:, 1, 0, 32]) * 64 / 63
    area, aspect = (width.abs() * height) / side**2, width.abs() / height
    assert area.min() > 0.07 and area.max() <= 1.02
    assert aspect.min() > 0.72 and aspect.max() < 1.39

    torch.manual_seed(4)
    pairs = [v2.RandomResizedCrop(64, AREA, ASPECT).make_params([picture]) for _ in range(n)]
    areas = [p["height"] * p["width"] / side**2 for p in pairs]
    aspects = [p["width"] / p["height"] for p in pairs]
    assert stats.ks_2samp(area, areas).pvalue > 0.01
    assert stats.ks_2samp(aspect, aspects).pvalue > 0.01
    mirrored = int((width < 0).sum())
    assert stats.binomtest(mirrored, n, 0.5).pvalue > 0.01


def test_inputs_are_bytes_less_the_mean_over_the_deviation(pictures: Path) -> None:
    view = FolderView(pictures / "train", size=12)
    x = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    black, white = view.normalise(x)[:, :, 0, 0]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(black, -mean / std)
    torch.testing.assert_close(white, (1 - mean) / std)


# Reading -----------------------------------------------------------------------------------------


def test_classes_are_the_sorted_names_of_the_folders(tmp_path: Path) -> None:
    images.write(tmp_path, {"zebra": 1, "ant": 2, "Ünï cöde": 3})
    view = FolderView(tmp_path, size=12)
    assert view.classes == ["ant", "zebra", "Ünï cöde"]
    assert view.targets.tolist() == [0, 0, 1, 2, 2, 2] and len(view) == 6


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P", "RGBA", "1"])
def test_whatever_an_image_is_made_of_it_becomes_red_green_and_blue(
    tmp_path: Path, mode: str
) -> None:
    (tmp_path / "a").mkdir()
    name = "x.JPG" if mode in ("L", "RGB", "CMYK") else "x.png"
    Image.new(mode, (30, 20)).save(tmp_path / "a" / name)
    x, y = FolderView(tmp_path, size=12)[0]
    assert x.shape == (3, 12, 12) and x.dtype == torch.float32 and y == 0


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_eight_bits_are_not_cut(tmp_path: Path, mode: str) -> None:
    (tmp_path / "a").mkdir()
    Image.new(mode, (30, 20)).save(tmp_path / "a" / "x.tiff")
    with pytest.raises(UserError, match=rf"its pixels have more than 8 bits \(mode {mode}"):
        FolderView(tmp_path, size=12)[0]


def test_colours_of_16_bits_are_not_cut(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    rows = b"".join(b"\0" + b"\x0f\xff" * 3 * 30 for _ in range(20))
    parts = [b"IHDR" + struct.pack(">IIBBBBB", 30, 20, 16, 2, 0, 0, 0)]
    parts += [b"IDAT" + zlib.compress(rows), b"IEND"]
    chunks = [struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts]
    (tmp_path / "a" / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(UserError, match=r"its pixels have more than 8 bits \(mode RGB\)"):
        FolderView(tmp_path, size=12)[0]


def test_a_channel_that_goes_beyond_255_is_deep_and_one_of_5_bits_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "x.ppm").write_bytes(b"P6 30 20 65535\n" + bytes(30 * 20 * 6))
    with pytest.raises(UserError, match="its pixels have more than 8 bits"):
        FolderView(tmp_path, size=12)[0]
    (folder / "x.ppm").write_bytes(b"P6 30 20 255\n" + bytes(30 * 20 * 3))
    assert FolderView(tmp_path, size=12)[0][0].shape == (3, 12, 12)


@pytest.mark.parametrize("augment", [False, True])
def test_batches_are_the_same_whatever_the_number_of_processes(
    pictures: Path, augment: bool
) -> None:
    options = {"size": 12, "augment": augment}
    views = [FolderView(pictures / "train", workers=n, **options) for n in (0, 1, 2)]
    decoders = [Decoders(view) for view in views]
    plan = list(torch.arange(21).split(4))
    for seed in (5, 6):  # two epochs of the same processes
        first, *others = (torch.cat([x for x, _ in d.stream(plan, seed)]) for d in decoders)
        assert all(torch.equal(first, other) for other in others)


def test_a_change_depends_on_image_and_seed_alone(pictures: Path) -> None:
    view = FolderView(pictures / "train", size=12, augment=True)
    state = torch.get_rng_state()
    first = everything(view, 5, batch_size=4)
    assert torch.equal(first, everything(view, 5, batch_size=21))
    ((x, y),) = Decoders(view).stream([torch.tensor([20, 3])], 5)
    assert torch.equal(x, first[[20, 3]]) and y.tolist() == [2, 0]
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, everything(view, 6))


def test_order_and_changes_are_new_in_every_epoch_and_those_of_the_seed(pictures: Path) -> None:
    view = FolderView(pictures / "train", size=12, augment=True)
    batches = StreamedBatches(view, 3, 8, shuffle=True, device=CPU)
    assert len(batches) == 3 and batches.n_samples == 21
    torch.manual_seed(0)
    first, second = list(batches), list(batches)
    assert [len(y) for _, y, _ in first] == [8, 8, 5]
    assert sorted(torch.cat([y for _, y, _ in first]).tolist()) == sorted(view.targets.tolist())
    assert all(t.tolist() == [3] * len(t) for _, _, t in first)
    assert not torch.equal(first[0][1], second[0][1])
    torch.manual_seed(0)
    for before, again in zip(first, batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(before, again, strict=True))


def test_what_a_network_is_told(pictures: Path) -> None:
    stream = folder_benchmark(data="pictures", size=12, data_root=pictures.parent)
    assert stream.input_shape == (3, 12, 12) and stream.out_features == 3
    assert (stream.n_tasks, stream.n_heads, stream.task_labels) == (1, 1, False)
    train, test = (view_behind(s[0].dataset) for s in (stream.train, stream.test))
    assert (len(train), len(test)) == (21, 9)
    assert train.augment and not test.augment


class Stop(Exception):
    """Stands for whatever ends a process."""


def stop(event: runner.Event) -> None:
    if event.kind == "epoch":
        raise Stop


def test_interrupted_run_ends_with_the_same_bytes(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def carry_out(out: str, on_event: Callable[[runner.Event], None]) -> bytes:
        (run,) = runner.plan(
            images.recipe(tmp_path), ["adam"], [0], {"lr": 0.1}, "epoch", tmp_path / out
        )
        runner.run_all([run], jobs=1, device="cpu", data_root=tmp_path, on_event=on_event)
        return run.path.read_bytes()

    monkeypatch.setenv("CL_BNN_WORKERS", "0")
    whole = carry_out("whole", lambda e: None)
    for _ in range(2):
        with pytest.raises(Stop):
            carry_out("pieces", stop)
    monkeypatch.setenv("CL_BNN_WORKERS", "2")
    assert carry_out("pieces", lambda e: None) == whole


# Bad input ---------------------------------------------------------------------------------------


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{tmp_path}/x is no folder; stream.train and "):
        FolderView(tmp_path / "x")
    with pytest.raises(UserError, match=rf"^{tmp_path} holds no folders: expected one for each"):
        FolderView(tmp_path)
    (tmp_path / ".ipynb_checkpoints").mkdir()  # hidden, and no class
    with pytest.raises(UserError, match=rf"^{tmp_path} holds no folders: expected one for each"):
        FolderView(tmp_path)
    images.write(tmp_path, {"full": 1, "hollow": 0})
    (tmp_path / "hollow" / "notes.txt").touch()
    with pytest.raises(UserError, match=rf"^class folder {tmp_path}/hollow holds no images"):
        FolderView(tmp_path)


def test_data_that_are_not_there_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{tmp_path}/imagenet is missing: it must hold train/"):
        folder_benchmark(data_root=tmp_path)


def test_training_and_test_must_have_the_same_classes(pictures: Path) -> None:
    images.write(pictures / "train", {"dog": 1, "elk": 1})
    with pytest.raises(UserError, match=r"val has no class 'dog' \(and 1 more\), which .*train"):
        folder_benchmark(data="pictures", data_root=pictures.parent)


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_out_of_range(pictures: Path, size: int) -> None:
    with pytest.raises(ValueError, match="size must be >= 1"):
        FolderView(pictures / "train", size=size)
    with pytest.raises(ValueError, match="workers must be >= 0"):
        FolderView(pictures / "train", workers=-1)


def test_an_image_size_that_the_network_cannot_take(pictures: Path, tmp_path: Path) -> None:
    changed = {"model.build": "cl_bnn.nn:xnornet", "model.width": 0.1}
    (run,) = runner.plan(images.recipe(tmp_path), ["adam"], [0], changed, "task", tmp_path / "out")
    with pytest.raises(UserError, match="xnornet needs images of at least 217 x 217 .* got 12 x"):
        runner.run_all([run], jobs=1, device="cpu", data_root=tmp_path, on_event=lambda e: None)


@pytest.mark.parametrize("workers", ["-1", "two"])
def test_a_number_of_processes_that_is_none(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setenv("CL_BNN_WORKERS", workers)
    with pytest.raises(UserError, match=f"CL_BNN_WORKERS = {workers!r}: expected a whole number"):
        folder_benchmark(data="pictures", data_root=pictures.parent)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def no_image(path: Path) -> None:
    path.write_text("<html>404</html>")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", [cut_short, no_image, empty])
def test_an_unreadable_image_is_named_in_one_line(
    pictures: Path, damage: Callable[[Path], None], workers: int
) -> None:
    broken = pictures / "train" / "bee" / "3.JPEG"
    damage(broken)
    view = FolderView(pictures / "train", size=12, workers=workers)
    with pytest.raises(UserError, match=rf"^{broken} cannot be read: .*skip_unreadable") as caught:
        everything(view, 0)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=rf"^{broken} cannot be read"):
        view[10]


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    try:
        open(os.fsencode(tmp_path / "a") + b"/\xff.jpg", "wb").close()
    except OSError:
        pytest.skip("this file system takes names that are UTF-8 only")
    with pytest.raises(UserError, match=r"a/\\udcff.jpg cannot be read") as caught:
        FolderView(tmp_path)[0]
    str(caught.value).encode()


def test_unreadable_images_are_left_out_if_asked_and_noted_once(pictures: Path) -> None:
    for name in ("bee/3", "bee/4"):
        cut_short(pictures / "train" / f"{name}.JPEG")
    options = {"size": 12, "workers": 1}
    notes: list[str] = []
    view = FolderView(pictures / "train", skip_unreadable=True, notes=notes, **options)
    plan, decoders = list(torch.arange(21).split(4)), Decoders(view)
    for _ in range(2):
        found = list(decoders.stream(plan, 0))
        assert [len(x) for x, _ in found] == [4, 4, 2, 4, 4, 1]
        assert found[2][1].tolist() == [1, 1]  # of the images 8 to 11 there are 8 and 9
    assert [note.split(" cannot")[0][-10:] for note in notes] == ["bee/3.JPEG", "bee/4.JPEG"]
    assert all(note.endswith(": left out") for note in notes)
    with pytest.raises(UserError, match="no image of a whole batch can be read; .*bee/3.JPEG"):
        list(decoders.stream([torch.tensor([10, 11])], 0))


def test_a_run_tells_which_images_it_left_out(pictures: Path, tmp_path: Path) -> None:
    cut_short(pictures / "train" / "ape" / "0.JPEG")
    cut_short(pictures / "val" / "cat" / "0.JPEG")
    changed = {"stream.skip_unreadable": True, "epochs": 2}
    (run,) = runner.plan(images.recipe(tmp_path), ["adam"], [0], changed, "epoch", tmp_path / "o")
    events: list[runner.Event] = []
    runner.run_all([run], jobs=1, device="cpu", data_root=tmp_path, on_event=events.append)
    notes = [event.text for event in events if event.kind == "note"]
    assert len(notes) == 2 and "train/ape/0.JPEG" in notes[0] and "val/cat/0.JPEG" in notes[1]


class Dies(module._Reader):
    """Ends the process that decodes, however that was started."""

    def _image(self, *arguments: object) -> Any:
        os._exit(1)


def test_a_process_that_dies_is_one_line(pictures: Path) -> None:
    view = FolderView(pictures / "train", size=12, workers=1)
    view.reader = Dies(12, False)
    with pytest.raises(UserError, match="a process that decodes images has died"):
        everything(view, 0)


# Real images -------------------------------------------------------------------------------------


def test_imagenette_can_be_read() -> None:
    root = Path(os.environ.get("CL_BNN_DATA", ""))
    if not (root / "imagenette-224").is_dir():
        pytest.skip("the folder in CL_BNN_DATA has no imagenette-224 (60 + 20 images a class)")
    stream = folder_benchmark(data="imagenette-224", data_root=root)
    assert stream.out_features == 10 and stream.input_shape == (3, 224, 224)
    view = view_behind(stream.train[0].dataset)
    assert len(view) == 600 and view.targets.bincount().tolist() == [60] * 10
    ((x, y),) = Decoders(view).stream([torch.arange(0, 600, 20)], 0)
    x = view.normalise(x)
    assert x.shape == (30, 3, 224, 224) and y.tolist() == sorted(y.tolist())
    # ImageNet's own pixels have mean 0 and deviation 1; thirty of its images come near.
    assert x.mean().abs() < 0.5 and 0.7 < x.std() < 1.4
