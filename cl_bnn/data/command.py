"""What `cl-bnn data list`, `fetch` and `verify` do. The command line prints what these return."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cl_bnn.data import own
from cl_bnn.data.by_hand import BY_HAND, ByHand
from cl_bnn.data.cifar import torchvision_class
from cl_bnn.data.features import FEATURES, Features
from cl_bnn.data.idx import IdxFile
from cl_bnn.data.sources import SOURCES, Source, data_root
from cl_bnn.errors import UserError, near, one_line

MEGABYTE = 1_000_000

Known = Source | Features | ByHand


def _known() -> dict[str, Known]:
    return {**SOURCES, **FEATURES, **BY_HAND}


def names() -> list[str]:
    """The data sets that these commands know."""
    return list(_known())


def _find(name: str) -> Known:
    known = _known()
    if name not in known:
        raise UserError(f"unknown data set {name!r}{near(name, known)}")
    return known[name]


def list_lines(root: str | Path | None = None) -> list[str]:
    """One line for each data set: its name, what it holds, where it is, and whether it is there."""
    folder, known = data_root(root), _known().values()
    name_width = max(len(source.name) for source in known)
    content_width = max(len(source.content) for source in known)
    return [
        f"{s.name:{name_width}}  {s.content:{content_width}}  {_state(s, folder)}" for s in known
    ]


def _state(source: Known, root: Path) -> str:
    folder = source.where(root)
    if not source.present(root):
        how = "by hand" if isinstance(source, ByHand) else f"`cl-bnn data fetch {source.name}`"
        return f"not in {folder}: {how}"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return f"in {folder}, {size / MEGABYTE:.{0 if size > MEGABYTE else 2}f} MB"


def verify(names: Sequence[str] = (), root: str | Path | None = None) -> Iterator[str]:
    """Read the data sets `names` and check every byte; a line for each, as soon as it is known.

    Without names, all that are there. After the last line, the first data set that is damaged or
    missing is raised as a UserError, which names the file, and says what was expected.
    """
    sources = [_find(name) for name in names]
    return _verify(sources, data_root(root)) if sources else _verify_present(data_root(root))


def _verify_present(root: Path) -> Iterator[str]:
    return _verify([source for source in _known().values() if source.present(root)], root)


def _verify(sources: Sequence[Known], root: Path) -> Iterator[str]:
    errors = []
    for source in sources:
        try:
            source.read(root)
            yield f"{source.name}: every file in {source.where(root)} is whole"
        except UserError as error:
            errors.append(error)
            yield f"{source.name}: {error}"
    if errors:
        raise errors[0]


def fetch(name: str, root: str | Path | None = None) -> str:
    """Download the data set `name` into the data root with torchvision, which shows its progress.
    A name may also be "torchvision:CLASS".

    What is there and whole is left alone; damaged files are replaced. Returns a line that says what
    was done. UserError if the name is unknown, the data set has to be put there by hand, features
    have not been made (`cl_bnn.features.fetch` makes them), or the download or writing fails.
    """
    folder = data_root(root)
    if name.startswith(own.PREFIX):
        return _fetch_class(name.removeprefix(own.PREFIX), folder)
    source = _find(name)
    where = source.where(folder)
    if isinstance(source, Features | ByHand):
        source.read(folder)
        return f"{source.title} is whole in {where}: nothing to fetch"
    if source.torchvision is None:
        return f"{source.title} is part of cl_bnn: nothing to fetch"
    if source.present(folder) and is_whole(source, folder):
        return f"{source.title} is whole in {where}: nothing to fetch"
    try:
        _download(source, source.torchvision, folder)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{source.title} cannot be fetched into {where}: {one_line(error)}"
        ) from error
    source.read(folder)
    return f"{source.title} is now in {where}"


def _fetch_class(name: str, root: Path) -> str:
    try:
        own.open_halves(name, root, download=True)
    except own.UNREADABLE as error:
        raise UserError(
            f"torchvision's {name} cannot be fetched into {root}: {one_line(error)}; files of it "
            "that are damaged must be deleted first"
        ) from error
    own.load_torchvision(name, root)
    return f"torchvision's {name} is now in {root}"


def is_whole(source: Known, root: Path) -> bool:
    """Whether every file of a data set is there and undamaged."""
    try:
        source.read(root)
    except UserError:
        return False
    return True


def _download(source: Source, class_name: str, root: Path) -> None:
    """By torchvision, made to replace damaged files: it asks only whether some of them exist."""
    from torchvision.datasets.utils import download_and_extract_archive

    torchvision = torchvision_class(class_name)
    root.mkdir(parents=True, exist_ok=True)
    if not source.files:
        archive = {"filename": torchvision.filename, "md5": torchvision.tgz_md5}
        download_and_extract_archive(torchvision.url, str(root), **archive)
        return
    for file in source.files:
        _remove_if_damaged(file, source.where(root) / file.name)
    torchvision(root, download=True)


def _remove_if_damaged(file: IdxFile, path: Path) -> None:
    if path.is_file():
        try:
            file.read(path, mend="")
        except UserError:
            path.unlink()
