"""What a configuration of the BayesBiNN reproduction means here: settings of our recipes.

Every key of a file becomes an entry, and so does everything in which the code of the reproduction
differs from the authors' (arXiv:2002.10778) without having a key for it.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

from cl_bnn.reproduction.keys import ONLY, SCRIPTS, Config

# The period of its cosine in epochs, whatever `epochs` says: of a single task, and of test_cl.py.
PERIOD, CONTINUAL_PERIOD = 500, 100
# The momentum of its BayesBiNN: the default of the optimiser, which no script changes.
MOMENTUM = 0.99
# The largest final learning rate, as a share of the initial one, that is as good as our 0.
NEGLIGIBLE = 1e-6
# The norms of the network of test_cl.py, which cannot be set here.
CONTINUAL_NORM = {"eps": 1e-4, "momentum": 0.15}

NETWORKS = {
    "BinaryConnect": "cl_bnn.nn:mnist_mlp",
    "VGGBinaryConnect": "cl_bnn.nn:vgg",
    "LRNetSmall": "cl_bnn.nn:lrnet_small",
    "LRNetBig": "cl_bnn.nn:lrnet_big",
}


class Images(NamedTuple):
    """A data set: its training images, what the files know of it, and its usual network."""

    n_images: int
    features: int
    channels: int
    classes: int
    network: str


DATASETS = {
    "mnist": Images(60_000, 784, 1, 10, "BinaryConnect"),
    "cifar10": Images(50_000, 3072, 3, 10, "VGGBinaryConnect"),
    "cifar100": Images(50_000, 3072, 3, 100, "VGGBinaryConnect"),
}


class Entry(NamedTuple):
    """A key of a file ("": what its code does without one), the setting that it becomes ("": none)
    with its value, and a remark.
    """

    key: str
    setting: str = ""
    value: object = None
    remark: str = ""


def entries(config: Config) -> Iterator[Entry]:
    """What a configuration means here; every key of the file has an entry.

    Raises:
        UserError: a value that no run here can have.
    """
    yield from (_continual_data if config.continual else _data)(config)
    yield from (_continual_network if config.continual else _network)(config)
    yield from _training(config)
    yield from (_bayesbinn if config.method == "bayesbinn" else _ste)(config)
    yield from _foreign(config)


# Keys of single tasks ----------------------------------------------------------------------------


def dataset(config: Config) -> str:
    """The data set: that of a published file which names one and has the outputs of another."""
    name: str = config.values["dataset"]
    slip = name == "cifar10" and config.values.get("output_shape") == DATASETS["cifar100"].classes
    return "cifar100" if slip else name


def _data(config: Config) -> Iterator[Entry]:
    values, name = config.values, dataset(config)
    slip = name != values["dataset"]
    remark = "its 100 outputs mean cifar100: a slip in cifar100_config_ste.json" if slip else ""
    yield Entry("dataset", remark=remark or f"benchmark {name}")
    augmented = values.get("data_augmentation", name != "mnist")
    if augmented and name == "mnist":
        raise config.refuse("data_augmentation", "false: here, digits are not augmented")
    if "data_augmentation" in values:
        chosen = "crop_and_flip" if augmented else "none"
        yield Entry("data_augmentation", "stream.augment", chosen)
    if "validation_split" in values:
        yield Entry("validation_split", "stream.validation", float(values["validation_split"]))
    if augmented and values.get("validation_split", 1):
        remark = "the authors augment the validation images too"
        yield Entry("", "stream.augment_validation", False, remark)


def _network(config: Config) -> Iterator[Entry]:
    values, facts = config.values, DATASETS[dataset(config)]
    network = values.get("model_architecture", facts.network)
    flat = network == "BinaryConnect"
    yield from _shapes(config, facts.features if flat else facts.channels, facts.classes)
    given = "model_architecture" in values
    yield Entry(
        "model_architecture" if given else "", "model.build", NETWORKS[network],
        "" if given else f"{network} is usual for {dataset(config)}",
    )  # fmt: skip
    if values.get("batch_affine"):
        raise config.refuse("batch_affine", "false: the norms of these networks have no gain here")
    if "batch_affine" in values:
        yield Entry("batch_affine", remark="norms without gain and shift")
    if "drop_prob" in values and flat:
        yield Entry("drop_prob", "model.dropout", float(values["drop_prob"]))
    elif "drop_prob" in values:
        yield Entry("drop_prob", remark=f"no effect: {network} has no dropout, there as here")
    if "momentum" in values:
        remark = "of the norms" if flat else "of the norms after convolutions; the others have 0.1"
        yield Entry("momentum", "model.momentum", float(values["momentum"]), remark)
    if network == "LRNetBig":
        remark = "its code makes norms after convolutions and does not use them"
        yield Entry("", "model.conv_norm", False, remark)


def _shapes(config: Config, inputs: int, classes: int) -> Iterator[Entry]:
    """The two keys that must be what the data are."""
    network = config.values.get("model_architecture", DATASETS[dataset(config)].network)
    for key, wanted in (("input_shape", inputs), ("output_shape", classes)):
        if config.values.get(key, wanted) != wanted:
            raise config.refuse(key, f"{wanted} with {dataset(config)} and {network}")
        if key in config.values:
            yield Entry(key, remark="as the data and the network have it")


# Keys of test_cl.py ------------------------------------------------------------------------------


def _continual_data(config: Config) -> Iterator[Entry]:
    values = config.values
    wanted = {"dataset": "mnist", "data_augmentation": False, "validation_split": 0}
    for key, value in wanted.items():
        if values.get(key, value) != value:
            raise config.refuse(key, f"{json.dumps(value)}, as test_cl.py permutes MNIST")
    yield Entry("dataset", remark="benchmark permuted_mnist")
    for key in ("data_augmentation", "validation_split"):
        if key in values:
            yield Entry(key, remark="none")
    yield Entry("", "stream.n_experiences", 5, "test_cl.py has five tasks")
    yield Entry("", remark="NOT followed: it tests all tasks on the pixels of the latest")
    yield Entry("", remark="NOT followed: its lr rises, instead of falling, in every second task")


def _continual_network(config: Config) -> Iterator[Entry]:
    values = config.values
    yield from _shapes(config, DATASETS["mnist"].features, DATASETS["mnist"].classes)
    if "model_architecture" in values:
        yield Entry("model_architecture", remark="no effect: the network is 784-100-100-10")
    for key, wanted in CONTINUAL_NORM.items():
        if values.get(key, wanted) != wanted:
            raise config.refuse(key, f"{wanted}, of the norms, which are fixed here")
        if key in values:
            yield Entry(key, remark="of the norms, as here")
    if values.get("batch_affine"):
        # Gains and shifts that are made binary: 4.3 (iv) and R5 of the protocols.
        remark = "NOT followed: it would make gains and shifts of norms binary; here are none"
        yield Entry("batch_affine", remark=remark)
    elif "batch_affine" in values:
        yield Entry("batch_affine", remark="norms without gain and shift")
    if "drop_prob" in values:
        yield Entry("drop_prob", remark="no effect: test_cl.py does not read it")


# Keys of all files -------------------------------------------------------------------------------


def _training(config: Config) -> Iterator[Entry]:
    values = config.values
    epochs, period = values["epochs"], CONTINUAL_PERIOD if config.continual else PERIOD
    yield Entry("epochs", "stop_after", epochs)
    if epochs <= period:
        yield Entry("", "epochs", period, "its cosine has this period, whatever `epochs` says")
    else:
        remark = f"NOT followed: its cosine would rise again after {period} epochs"
        yield Entry("", "epochs", epochs, remark)
    yield Entry("", "schedule", "cosine", "stepped after an epoch; the authors do it before")
    yield Entry("batch_size", "batch_size", values["batch_size"])
    images = DATASETS[dataset(config)].n_images
    images -= round(values.get("validation_split", 0 if config.continual else 0.1) * images)
    if images % values["batch_size"]:
        yield Entry("", remark="NOT followed: it drops the last, smaller batch of an epoch")
    yield Entry("lr_init", "lr", float(values["lr_init"]))
    if values.get("lr_final", 0) > NEGLIGIBLE * values["lr_init"]:
        raise config.refuse("lr_final", f"at most {NEGLIGIBLE:g} lr_init: here, schedules end at 0")
    if "lr_final" in values:
        yield Entry("lr_final", remark="as good as 0, where the schedule ends")
    if "criterion" in values:
        yield Entry("criterion", remark="cross-entropy")
    if "lr_scheduler" in values:
        yield Entry("lr_scheduler", remark="schedule = cosine, see below")


def _bayesbinn(config: Config) -> Iterator[Entry]:
    values = config.values
    for key, setting, kind in (
        ("mc_steps", "mc_samples", int),
        ("temperature", "temperature", float),
        ("evaluate_steps", "eval_samples", int),
    ):
        if key in values:
            yield Entry(key, setting, kind(values[key]))
    yield Entry("", "momentum", MOMENTUM, "its optimiser's, never changed; the authors have 0")
    if config.continual:
        remark = "its step never reads the prior"
        yield Entry("", "posterior_as_prior", False, remark)
        return
    yield Entry(
        "", remark="no effect: its step never reads the prior, which is 0 for a single task"
    )
    if dataset(config) != "mnist":
        remark = "N is the number of images; the authors take ten times that"
        yield Entry("", "trainset_scale", 1.0, remark)


def _ste(config: Config) -> Iterator[Entry]:
    for key, setting, remark in (
        ("grad_clip_value", "grad_clip", "element by element; the authors' code has no clipping"),
        ("weight_clip_value", "clamp", "as in the authors' code"),
    ):
        # The default of its trainer is 1.
        value = float(config.values.get(key, 1))
        yield Entry(key if key in config.values else "", setting, value, remark)


def _foreign(config: Config) -> Iterator[Entry]:
    """Keys that the script does not read."""
    for method, keys in ONLY.items():
        for key in keys if method != config.method else ():
            if key in config.values:
                yield Entry(key, remark=f"no effect: {SCRIPTS[config.method]} does not read it")
