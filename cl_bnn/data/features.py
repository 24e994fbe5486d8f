"""Images as features of a frozen network: which network, and the file that keeps what it says."""

import json
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

from platformdirs import user_cache_path

from cl_bnn.data import files, own
from cl_bnn.data.dataset import Dataset
from cl_bnn.errors import UserError

# Characters of the sha256 of its constants by which a file is named.
DIGITS = 8
# The array of the file that holds these constants, as JSON.
CONSTANTS = "made_by"


@dataclass(frozen=True)
class Extractor:
    """The network that makes features: a VGG of BinaryConnect (`cl_bnn.nn.vgg`) with weights of
    full precision, trained by Adam with a learning rate that falls to 0 along a straight line.

    The features are what its convolutions give, 4 x 4 places of each channel of the last one: 1024
    numbers at an eighth of the width. A linear classifier that has learned 20,000 of CIFAR-10's
    images gets 69 % of 5,000 others right with them, 60 % with what the network's last layer sees,
    and 53 % with the means of the channels.

    Attributes:
        width: factor on its channels and units.
        epochs: of training, on images that are shifted and mirrored at random.
        batch_size: of training.
        lr: learning rate of the first step.
        seed: of initial weights, order of images and their changes.
        version: of the code that trains it and reads features off, `cl_bnn.features`: to be raised
            with whatever makes other features of the same constants.
    """

    width: float = 0.125
    epochs: int = 6
    batch_size: int = 100
    lr: float = 2e-3
    seed: int = 1
    version: int = 1


@dataclass(frozen=True)
class Features:
    """A data set of features: that of another's images, by a network that has learned others.

    `of` names the data set whose images and labels these are, `learned_from` the one whose training
    images the network has seen.
    """

    name: str
    title: str
    content: str
    folder: str
    of: str
    learned_from: str
    extractor: Extractor = Extractor()

    @property
    def constants(self) -> str:
        """Everything that determines the features, as JSON."""
        facts = {"of": self.of, "learned_from": self.learned_from, **asdict(self.extractor)}
        return json.dumps(facts, sort_keys=True)

    @property
    def filename(self) -> str:
        """Another one for other constants."""
        digest = sha256(self.constants.encode()).hexdigest()
        return f"{self.name}-{digest[:DIGITS]}{own.SUFFIX}"

    def places(self, root: Path) -> tuple[Path, ...]:
        """Where the file may be: below the data root, or in the user's cache if nothing can be
        written there.
        """
        roots = dict.fromkeys((root, user_cache_path("cl_bnn")))
        return tuple(root / self.folder / self.filename for root in roots)

    def find(self, root: Path) -> Path | None:
        """The file, or None if it has not been made."""
        return next((path for path in self.places(root) if path.is_file()), None)

    def where(self, root: Path) -> Path:
        """The folder of the file, or the one for it."""
        return (self.find(root) or self.places(root)[0]).parent

    def present(self, root: Path) -> bool:
        """Whether the file is there; whether it is whole, `read` tells."""
        return self.find(root) is not None

    def read(self, root: Path) -> Dataset:
        """The data set: x float32 (n, features), with mean and deviation of each feature.

        UserError if the file is missing, damaged, or that of other constants.
        """
        path = self.find(root)
        if path is None:
            raise files.missing(self.name, self.title, self.where(root), self.folder)
        mend = files.mend(self.name)
        try:
            *arrays, made_by = own.read_arrays(path, (*own.ARRAYS, CONSTANTS))
            found = own.dataset_of(str(path), *arrays)
        except UserError as error:
            raise UserError(f"{error}; {mend}") from error
        if str(made_by) != self.constants:
            raise UserError(f"{path} was made by {made_by}, expected {self.constants}; {mend}")
        return replace(found, name=self.name)


FEATURES = {
    features.name: features
    for features in (
        Features(
            name="cifar10_features",
            title="CIFAR-10 as features",
            content="1024 numbers an image, from a network that has learned CIFAR-100",
            folder="cifar-10-features",
            of="cifar10",
            learned_from="cifar100",
        ),
        Features(
            name="cifar100_features",
            title="CIFAR-100 as features",
            content="1024 numbers an image, from a network that has learned CIFAR-10",
            folder="cifar-100-features",
            of="cifar100",
            learned_from="cifar10",
        ),
    )
}
