"""Files that are there whole or not at all."""

import os
from pathlib import Path

from cl_bnn.errors import Absent


def atomic_write(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step: whoever reads it sees the old or the new, never a half.

    Makes the folder if needed. Raises `Absent` if it cannot be written.
    """
    if not path.name:
        raise Absent(f"cannot write {path}: it names a folder; name a file in it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


def remove(path: Path) -> None:
    """Remove a file, if it is there. Raises `Absent` if it cannot be removed."""
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        pass  # the folder is a file: writing into it says so in a moment
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> Absent:
    return Absent(f"cannot write {path}: {error.strerror}; choose a folder you can write to")
