"""Rotated images: every task shows the same images turned by another angle."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from cl_bnn.benchmarks.held_out import held_out
from cl_bnn.benchmarks.stream import Stream, whole_tasks
from cl_bnn.data.dataset import Split
from cl_bnn.data.scaling import Scaling, scaling_of
from cl_bnn.data.task import TaskView
from cl_bnn.errors import require
from cl_bnn.features import load

#: Degrees over which the tasks are spread (Lopez-Paz and Ranzato 2017, arXiv:1706.08840).
RANGE = 180.0


def rotated(
    *, data: str = "mnist", n_experiences: int = 5, angles: list[float] | None = None,
    validation: float = 0.0, scaling: Scaling = "standard", task_labels: bool = False,
    seed: int = 0, data_root: Path | None = None,
) -> Stream:  # fmt: skip
    """The rotated stream (Lopez-Paz and Ranzato 2017, arXiv:1706.08840).

    Task k of n is turned by 180 k / n degrees, the first one not at all; the authors draw the angle
    within the interval that begins there. All tasks share one head, and the task label is not given
    unless asked for (domain-incremental).

    Args:
        data: name of a data set of images, or data of the user's own, see `cl_bnn.features.load`.
        n_experiences: number of tasks, >= 1.
        angles: of each task, in degrees, counter-clockwise; None: as above.
        validation: share of the training images held out, in [0, 1), the same ones of all tasks.
        scaling: of the values, see `cl_bnn.data.scaling`.
        task_labels: whether the task label is given at test, for `model.norm = "per_task"`.
        seed: chooses the images that are held out; nothing else depends on chance.
        data_root: where the data sets lie.

    Raises:
        ValueError: `n_experiences` or `validation` out of range, another number of angles, or data
            that are no images.
        UserError: the data set is unknown, missing or damaged.
    """
    require(n_experiences >= 1, "n_experiences", n_experiences, ">= 1")
    if angles is None:
        angles = [RANGE * k / n_experiences for k in range(n_experiences)]
    require(
        len(angles) == n_experiences, "angles", angles, f"one for each of {n_experiences} tasks"
    )
    source = load(data, data_root)
    require(source.train.x.dim() == 4, "data", data, "images, to be rotated")
    kept, held = held_out(len(source.train), validation, seed)
    normalise = scaling_of(source, scaling, kept)
    turns = [Rotation(angle, normalise) for angle in angles]

    def views(split: Split, rows: Tensor | None = None) -> list[TaskView]:
        view = TaskView(split, normalise, rows=rows)
        return [view.seen(normalise=turn) for turn in turns]

    return whole_tasks(
        source, views(source.train, kept), views(source.test),
        [] if held is None else views(source.train, held), task_labels=task_labels,
    )  # fmt: skip


class Rotation:
    """Images turned about their centre with bilinear interpolation, then normalised.

    Their size stays, what leaves the frame is lost, and what enters is black. It is done whenever a
    task is made ready, on whole tensors: once before a task is trained.

    Args:
        angle: in degrees, counter-clockwise.
        normalise: turned images, float32 as they are in the data set, to inputs.
    """

    def __init__(self, angle: float, normalise: Callable[[Tensor], Tensor]) -> None:
        self.angle, self.normalise = angle, normalise

    def __call__(self, x: Tensor) -> Tensor:
        """Inputs from images, both (n, channels, height, width)."""
        return self.normalise(rotate(x, self.angle) if self.angle % 360 else x)


def rotate(x: Tensor, angle: float) -> Tensor:
    """Images (n, channels, height, width) of any type turned by `angle` degrees, as float32."""
    # Imported here because it takes a second.
    from torchvision.transforms.v2 import InterpolationMode, functional

    turned: Tensor = functional.rotate(x.float(), angle, InterpolationMode.BILINEAR)
    return turned
