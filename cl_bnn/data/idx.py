"""Reader of IDX files, the format of MNIST and Fashion-MNIST, compressed with gzip or not.

An IDX file of bytes is four bytes (0, 0, 8, number of dimensions), each dimension as a big-endian
uint32, then the values in row-major order.
"""

import gzip
import zlib
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from struct import pack

import torch
from torch import Tensor

from cl_bnn.errors import UserError

UNSIGNED_BYTE = 8
"""Code of the element type in the header."""


@dataclass(frozen=True)
class IdxFile:
    """What is known of one file: its name without `.gz`, its shape, and the sha256 of its
    uncompressed bytes.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    def find(self, folder: Path) -> Path | None:
        """The file in `folder`, as it is or with `.gz`; None if there is neither."""
        paths = (folder / self.name, folder / f"{self.name}.gz")
        return next((path for path in paths if path.is_file()), None)

    def read(self, path: Path, mend: str) -> Tensor:
        """The values of the file at `path` as uint8 in `self.shape`.

        UserError if it is not the file expected; the message names it, says what was expected and
        ends in `mend`.
        """
        data = _bytes(path, mend)
        header = pack(f">4B{len(self.shape)}I", 0, 0, UNSIGNED_BYTE, len(self.shape), *self.shape)
        size = len(header) + prod(self.shape)
        if len(data) != size:
            raise damaged(path, f"{len(data)} bytes uncompressed, expected {size}", mend)
        if not data.startswith(header):
            raise damaged(
                path, f"header {data[: len(header)].hex()}, expected {header.hex()}", mend
            )
        digest = sha256(data).hexdigest()
        if digest != self.sha256:
            raise damaged(path, f"sha256 {digest}, expected {self.sha256}", mend)
        # A bytearray, because torch warns of tensors over memory that cannot be written.
        return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=len(header)).view(
            self.shape
        )


def damaged(path: Path, finding: str, mend: str) -> UserError:
    """The error about a file that is there but not what it should be."""
    return UserError(f"{path} is damaged: {finding}; {mend}")


def _bytes(path: Path, mend: str) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, f"not a whole gzip file ({error})", mend) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; {mend}") from error
