"""Whether a learner knows what it does not know: of test images, and of images of another kind."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_bnn import data as datasets
from cl_bnn import metrics
from cl_bnn.benchmarks.rotated import Rotation
from cl_bnn.data.dataset import Split
from cl_bnn.data.task import TaskView, spread
from cl_bnn.errors import UserError
from cl_bnn.strategies.loading import task_view
from cl_bnn.strategies.precision import gpu_arithmetic

#: Images of a test set that are looked at, evenly spread, and as many of every other kind: the area
#: under the curve of 500 against 500 has a standard error of 0.02 at most.
IMAGES = 500
#: Data sets whose test images stand for what was never seen, if they are there.
OTHERS = ("mnist", "fashion_mnist")

Raw = Callable[[TaskView, Tensor], Tensor]
Ask = Callable[[Tensor, Any], Tensor]


def rotated(view: TaskView, rows: Tensor) -> Tensor:
    """Test images turned by 90 degrees, as they are in the data set: (n, channels, side, side)."""
    return view.raw(rows).rot90(1, (2, 3))


def inverted(view: TaskView, rows: Tensor) -> Tensor:
    """Test images with black for white, as they are in the data set."""
    x = view.split.x
    top = 255 if x.dtype == torch.uint8 else x.max() + x.min()
    return top - view.raw(rows)


@contextmanager
def asked(strategy: Any) -> Iterator[Ask]:
    """Inside, a function from inputs (n, ...) and the experience whose head is meant to the outputs
    of every network of the preferred prediction, (networks, n, ...). The weights of training come
    back.

    Args:
        strategy: a `cl_bnn.strategies.Template` that is not in Avalanche's loop.
    """

    @torch.no_grad()
    def ask(inputs: Tensor, experience: Any) -> Tensor:
        unknown = torch.zeros(len(inputs), dtype=torch.int64)
        label = torch.full_like(unknown, int(experience.task_label))
        strategy.experience, strategy.mbatch = experience, [inputs, unknown, label]
        strategy._unpack_minibatch()
        return torch.stack(list(strategy.each_output()))

    before = strategy.is_training, strategy.experience, strategy.mbatch, strategy.predictor
    strategy.is_training, strategy.predictor = False, strategy.predictors[0]
    strategy.model.eval()
    try:
        with gpu_arithmetic(strategy.precision == "tf32"), strategy.evaluation_weights():
            yield ask
    finally:
        strategy.is_training, strategy.experience, strategy.mbatch, strategy.predictor = before


def measure(strategy: Any, experiences: Sequence[Any], root: Path | None) -> list[dict[str, float]]:
    """How unsure the networks that predict are, of some test images of each experience.

    Images of another kind get the normalisation, the order of pixels and the head of the task.

    Args:
        strategy: a `cl_bnn.strategies.Template`.
        experiences: test experiences.
        root: where the data sets lie.

    Returns:
        For each experience `aleatoric` and `epistemic`, the mean parts of the entropy of a
        prediction (nats, see `cl_bnn.metrics.entropies`), and `auroc_<kind>`, how well that entropy
        tells images of a kind from the task's own: `rotated` by 90 degrees (but where tasks are
        rotations), `inverted`, and of other data sets of the same shape and type. Nothing where
        there are no classes to predict, and no `auroc_` where the inputs are no square images.
    """
    if not strategy.objective.of_classes:
        return [{} for _ in experiences]
    views = [task_view(experience.dataset) for experience in experiences]
    kinds = _kinds([view for view in views if view is not None], root)
    with asked(strategy) as ask:
        return [
            {} if view is None else _of_task(ask, view, experience, kinds)
            for experience, view in zip(experiences, views, strict=True)
        ]


def _kinds(views: list[TaskView], root: Path | None) -> dict[str, Raw]:
    """What makes images of other kinds than those of some tasks, by its name."""
    splits = {id(view.split): view.split for view in views}.values()  # tasks share them
    shapes = {split.x.shape[1:] for split in splits}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 3 or shape[1] != shape[2]:
        return {}
    turned = any(isinstance(view.normalise, Rotation) for view in views)
    kinds: dict[str, Raw] = {} if turned else {"rotated": rotated}
    kinds["inverted"] = inverted
    for name in OTHERS:
        other = _test_images(name, root)
        if other is not None and all(_unlike(other, split) for split in splits):
            kinds[name] = _from(other)
    return kinds


def _unlike(other: Split, split: Split) -> bool:
    """Whether other images can stand beside those of a split, on the same scale, and are others."""
    x, y = other.x, split.x
    if x.dtype != y.dtype or x.shape[1:] != y.shape[1:]:
        return False
    same = x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()
    return not same and not torch.equal(x[: len(y)], y[: len(x)])


def _test_images(name: str, root: Path | None) -> Split | None:
    """The test images of a data set; None where they are not here, or damaged: nobody asked for
    them.
    """
    try:
        return datasets.load(name, root).test if datasets.present(name, root) else None
    except UserError:
        return None


def _from(split: Split) -> Raw:
    return lambda view, rows: split.x[spread(len(split), len(rows))]


def _of_task(ask: Ask, view: TaskView, experience: Any, kinds: dict[str, Raw]) -> dict[str, float]:
    rows = spread(len(view), IMAGES)
    total, epistemic = metrics.entropies(ask(view.finish(view.raw(rows)), experience))
    found = {
        "aleatoric": (total - epistemic).mean().item(),
        "epistemic": epistemic.mean().item(),
    }
    for name, strange in kinds.items():
        outside, _ = metrics.entropies(ask(view.finish(strange(view, rows)), experience))
        found[f"auroc_{name}"] = metrics.auroc(total, outside)
    return found
