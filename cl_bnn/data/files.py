"""Files of a data set that are not there or not whole: what to do about them."""

from pathlib import Path

from cl_bnn.errors import Absent, UserError


def has_files(folder: Path) -> bool:
    """Whether the folder is there with something in it; UserError if it cannot be read."""
    try:
        return folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from error


def missing(name: str, title: str, where: Path, folder: str) -> Absent:
    """The data set is not `where` it should be, which is `folder` below the data root."""
    return Absent(
        f"{title} is not in {where}; run `cl-bnn data fetch {name}`, or give the folder that holds "
        f"{folder} as --data-root or in CL_BNN_DATA"
    )


def mend(name: str) -> str:
    """What to do about a damaged file, as the end of a message."""
    return f"mend it with `cl-bnn data fetch {name}`"
