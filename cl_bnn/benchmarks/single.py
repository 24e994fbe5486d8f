"""A single task: the standard benchmarks of classification as streams of length one."""

from pathlib import Path

from cl_bnn.benchmarks.held_out import held_out
from cl_bnn.benchmarks.stream import Stream, build_benchmark
from cl_bnn.data.augment import Augmentation, augmentation_of
from cl_bnn.data.scaling import Scaling, scaling_of
from cl_bnn.data.task import TaskView
from cl_bnn.features import load


def single(
    *, data: str = "mnist", validation: float = 0.1, augment: Augmentation = "none",
    augment_validation: bool = False, scaling: Scaling = "standard", limit: int | None = None,
    first_seed: int = 1, seed: int = 0, data_root: Path | None = None,
) -> Stream:  # fmt: skip
    """One data set as one task, part of its training images held out to choose the epoch.

    The images held out are the first of a permutation by NumPy's `RandomState(first_seed + seed)`,
    as in the BayesBiNN authors' code (arXiv:2002.10778, B.2), whose first run has the seed 1 for
    MNIST and 10 for CIFAR.

    Args:
        data: name of a data set, or data of the user's own, see `cl_bnn.data.load`.
        validation: share of the training images held out, in [0, 1); 0: none.
        augment: what is done to training images at random: `"none"`, or `"crop_and_flip"` as usual
            for CIFAR.
        augment_validation: augment the held-out images as well, as the authors' code does for
            CIFAR, with the same random numbers at every measurement.
        scaling: `"standard"`, `"unit"`, `"symmetric"`, as in Bop's experiments, or `"whitened"`,
            made from the images to learn from, as in BENN's; see `cl_bnn.data.scaling`.
        limit: learn from so many images only, those that come next in the permutation; None: from
            all that are not held out.
        first_seed: seed of the permutation of the run with seed 0.
        seed: of the run.
        data_root: where the data sets lie.

    Raises:
        ValueError: a share out of range, or so small that nothing is held out; a limit that is less
            than 1 or more than there is.
        UserError: the data set is unknown, missing or damaged.
    """
    source = load(data, data_root)
    change = augmentation_of(augment, source.train.x)
    kept, held = held_out(len(source.train), validation, first_seed + seed, limit)
    normalise = scaling_of(source, scaling, kept)
    train = TaskView(source.train, normalise, rows=kept, augment=change)
    again = change if augment_validation else None
    chosen_by = (
        [] if held is None else [TaskView(source.train, normalise, rows=held, augment=again)]
    )
    return Stream(
        benchmark=build_benchmark([train], [TaskView(source.test, normalise)], [0], chosen_by),
        input_shape=tuple(source.train.x.shape[1:]),
        out_features=source.n_classes,
        n_heads=1,
        task_labels=False,
    )
