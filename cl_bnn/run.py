"""One run: what determines it, and where its files go."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from cl_bnn import recipes, results
from cl_bnn.errors import UserError

EvalEvery = Literal["task", "epoch"]


@dataclass(frozen=True)
class Run:
    """One strategy on one benchmark with one seed, and where its files go.

    With `tasks_seen` it is a trial of settings: it learns the first tasks of its stream alone, and
    is measured on training data held out of them; see `cl_bnn.benchmarks.Stream.beginning`.
    """

    spec: recipes.Spec
    seed: int
    eval_every: EvalEvery
    out: Path
    tasks_seen: int | None = None

    @property
    def name(self) -> str:
        """For example `split_mnist/bayesbinn/seed0`."""
        return f"{self.spec.benchmark}/{self.spec.strategy}/seed{self.seed}"

    @property
    def path(self) -> Path:
        """The CSV of the measurements."""
        return results.csv_path(self.out, self.spec.benchmark, self.spec.strategy, self.seed)

    def on_file(self, data_root: Path | None) -> bool:
        """Whether its files are there and whole; raises as `results.finished` does."""
        return results.finished(self.path, self.as_dict(), self.own_files(data_root))

    def own_files(self, data_root: Path | None) -> dict[str, str]:
        """The digests of the user's own files that it is made of, data and code, by name."""
        found = digests_of_code(self.spec.own_files())
        files = [name for name in self.spec.data if name.endswith(".npz")]
        if not files:
            return found
        from cl_bnn import data  # slow to import

        return found | data.own_digests(files, data_root)

    def as_dict(self) -> dict[str, Any]:
        """Everything that determines the measurements, ready for JSON."""
        found = {**self.spec.as_dict(), "seed": self.seed, "eval_every": self.eval_every}
        return found if self.tasks_seen is None else found | {results.TRIAL: self.tasks_seen}


def digests_of_code(paths: Iterable[Path]) -> dict[str, str]:
    """`digest_of_code` of some files by name, with the folder's before it where the name is taken
    or that of every package.
    """
    found: dict[str, str] = {}
    for path in paths:
        alone = path.name not in found and path.name != "__init__.py"
        found[path.name if alone else f"{path.parent.name}/{path.name}"] = digest_of_code(path)
    return found


@cache
def digest_of_code(path: Path) -> str:
    """The digest of a Python file as it was when this process first came across it, and imported
    it: what it holds now, another process will run.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def distinct(runs: Iterable[Run]) -> list[Run]:
    """The runs, each once.

    Raises:
        UserError: different runs with the same file.
    """
    found: dict[Path, Run] = {}
    for run in runs:
        other = found.setdefault(run.path, run)
        unlike = results.difference(other.as_dict(), run.as_dict())
        if unlike is not None:
            raise UserError(
                f"{run.name} would be two runs, with {unlike[0]} = {unlike[1]!r} and with "
                f"{unlike[2]!r}: give one of the recipes another file name"
            )
    return list(found.values())
