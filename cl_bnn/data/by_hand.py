"""Data sets that no command can fetch: their files are put below the data root by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cl_bnn.data import isbi, synthetic
from cl_bnn.data.files import has_files
from cl_bnn.errors import Absent


@dataclass(frozen=True)
class ByHand:
    """A data set of a benchmark of its own, which is read by a function of its own.

    `load` gets the data root and raises a UserError if a file is missing or damaged; `layout` is a
    sentence that says which files there are.
    """

    name: str
    title: str
    content: str
    folder: str
    load: Callable[[Path], object]
    layout: str

    def where(self, root: Path) -> Path:
        """The folder of the files."""
        return root / self.folder

    def present(self, root: Path) -> bool:
        """Whether the folder is there with a file in it; whether it is whole, `read` tells."""
        return has_files(self.where(root))

    def read(self, root: Path) -> None:
        """Read every file; UserError if one is missing or damaged."""
        if not self.present(root):
            raise Absent(f"{self.title} is not in {self.where(root)}; {self.layout}")
        self.load(root)


ISBI = ByHand(
    name="isbi2012_em",
    title="ISBI 2012 EM",
    content="24 + 6 slices of electron microscopy, 512 x 512, 2 classes",
    folder=isbi.FOLDER,
    load=isbi.load,
    layout=isbi.LAYOUT,
)

SNELSON = ByHand(
    name="snelson",
    title="Snelson's regression",
    content="200 points of a curve, 301 places to predict at",
    folder=synthetic.SNELSON_FOLDER,
    load=synthetic.snelson,
    layout=synthetic.LAYOUT,
)

BY_HAND = {data_set.name: data_set for data_set in (ISBI, SNELSON)}
