"""The file of one run: a tidy CSV of measurements and a JSON of everything that determined it.

A run is written whole or not at all. The JSON holds the SHA-256 of the CSV and is written last, so
that a run counts as finished only when every byte is on disk, and an edited CSV is noticed.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import io
import json
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cl_bnn._labels import name_of
from cl_bnn.atomic import atomic_write, remove
from cl_bnn.errors import UserError, near, one_line

if TYPE_CHECKING:
    import pandas as pd

#: Six significant digits: far below the noise of any measurement, and short to read.
VALUE_FORMAT = ".6g"
#: The pandas type of every column; `on` and `epoch` may be empty.
COLUMNS = {
    "benchmark": "str",
    "strategy": "str",
    "seed": "int64",
    "after": "int64",
    "on": "Int64",
    "epoch": "Int64",
    "metric": "str",
    "value": "float64",
}
#: The columns that name a run.
RUN = ["benchmark", "strategy", "seed"]
#: What `after` is before the first task, and the accuracy that was measured then.
BEFORE, UNTRAINED = -1, "accuracy_untrained"
#: How often a run was measured changes nothing of what was measured at the end.
MEASURED = "eval_every"
#: What the spec of a trial of `cl-bnn search` says besides.
TRIAL = "tasks_seen"
#: What of a run its benchmark alone says.
OF_BENCHMARK = ("epochs", "batch_size", "stop_after", "stream", "model")


class Row(NamedTuple):
    """One measurement: `metric` on task `on` once the tasks 0 to `after` are learned.

    `after` is -1 for `accuracy_untrained`, that of the network which has learned nothing. `on` is
    None for a quantity of the whole network. `epoch` counts from 0 within task `after` and is None
    at the end of that task. Accuracies, errors and shares are fractions, `nll` is in nats and
    `entropy` in bits.
    """

    benchmark: str
    strategy: str
    seed: int
    after: int
    on: int | None
    epoch: int | None
    metric: str
    value: float


def csv_path(out: Path, benchmark: str, strategy: str, seed: int) -> Path:
    """Where the measurements of a run belong below `out`; the JSON lies beside the CSV."""
    return out / benchmark / strategy / f"seed{seed}.csv"


def write(
    path: Path, rows: Sequence[Row], spec: Mapping[str, object], info: Mapping[str, object]
) -> None:
    """Write the CSV at `path` and then its JSON; killed in between, the run is not finished.

    `spec` is what determined the numbers and is compared by `finished`; `info` (commit, versions,
    wall time) is only kept. Raises `UserError` where the directory cannot be written.
    """
    data = _csv_bytes(rows)
    record = {"spec": spec, "csv_sha256": hashlib.sha256(data).hexdigest(), "info": info}
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    remove(_json_path(path))  # an older JSON must never vouch for the new CSV
    atomic_write(path, data)
    atomic_write(_json_path(path), text.encode())


def finished(
    path: Path, spec: Mapping[str, object], own_files: Mapping[str, str] | None = None
) -> bool:
    """Whether the run with this CSV and this `spec` is on file, whole and unchanged.

    A run measured after every epoch also answers a request for one measured after every task.
    `own_files` are the digests of files of the user's own, data and code, where they are known.
    Raises `UserError` if the file belongs to another spec or was made of other such files, was
    edited, or has an unreadable JSON.
    """
    if not (path.is_file() and _json_path(path).is_file()):
        return False
    record = _checked_record(path)
    on_file, made_of = record["spec"], _table(record.get("info", {}).get("own_files"))
    for name, digest in (own_files or {}).items():
        if made_of.get(name, digest) != digest:
            raise UserError(
                f"{path} was made of another {name}, which has changed since: use another --out, "
                "or delete the file"
            )
    asked = json.loads(json.dumps(spec))
    if asked.get(MEASURED) == "task" and on_file.get(MEASURED) == "epoch":
        asked[MEASURED] = "epoch"
    found = difference(on_file, asked)
    if found is not None:
        raise UserError(
            f"{path} holds a run with {found[0]} = {found[1]!r}, not {found[2]!r}: "
            f"use another --out, or delete the file"
        )
    return True


class Loaded(NamedTuple):
    """What a directory holds.

    Attributes:
        frame: a row a measurement; the columns are the fields of `Row`, `on` and `epoch` nullable.
        info: a row for each run with a JSON: `benchmark, strategy, seed`, and a column for every
            number beside the spec that any JSON holds, such as `seconds`; NaN where a run has it
            not.
        specs: the settings of the runs whose JSON names them, by benchmark, strategy and seed;
            those of tables under dotted keys, as for `--set`.
    """

    frame: pd.DataFrame
    info: pd.DataFrame
    specs: dict[tuple[str, str, int], dict[str, object]]


def load(directory: Path, *, alike: bool = True, trials: bool = False) -> Loaded:
    """All runs below `directory`: every `seed*.csv`, and the JSON beside it.

    A CSV without a JSON is taken as it is, if it is whole; one whose JSON disagrees with it is
    refused. So are, unless `alike` is false, runs that are no comparison with each other. Trials of
    `cl-bnn search`, which learn the beginning of a stream, are left out unless `trials` is true.

    Raises:
        UserError: a file is damaged, cut or edited, a JSON is no record of a run, there are two
            files of one run, or none at all; seeds of one label have other settings or were made of
            other code, or strategies on one benchmark learned other streams, networks or data.
    """
    import pandas as pd  # 0.5 s, and a run that only writes does not need it

    runs: dict[tuple[Hashable, ...], tuple[Path, pd.DataFrame]] = {}
    info: list[dict[Hashable, object]] = []
    specs = {}
    made_of: dict[tuple[str, ...], tuple[Path, object]] = {}
    for path, record in _files(directory, trials):
        for run, frame in _read_csv(path).groupby(RUN):
            if not record:
                _check_whole(path, frame)
            if run in runs:
                raise UserError(
                    f"{run[0]}/{run[1]}, seed {run[2]}, is in {runs[run][0]} and in {path}: "
                    f"name the directory of one of them"
                )
            runs[run] = path, frame
            if record:
                info.append(_numbers(record) | dict(zip(RUN, run, strict=True)))
        spec = dict(record.get("spec", {}))
        if spec.keys() >= set(RUN):
            name = str(spec.pop("benchmark")), str(spec.pop("strategy")), int(str(spec.pop("seed")))
            spec |= {**_table(spec.pop("settings", {})), **_table(spec.pop("plugins", {}))}
            specs[name] = dict(_flat(spec))
            if alike:
                _check_made_alike(path, name[:2], record, made_of)
    if not runs:
        raise UserError(
            f"no results in {directory}: expected <benchmark>/<strategy>/seed<k>.csv, other than "
            "those of `cl-bnn search`; `cl-bnn run` writes them into runs/, unless told otherwise"
        )
    if alike:
        _check_alike(specs)
    whole = pd.concat([frame for _, (_, frame) in sorted(runs.items())], ignore_index=True)
    keys = sorted({str(key) for numbers in info for key in numbers} - set(RUN))
    return Loaded(whole, pd.DataFrame(info, columns=[*RUN, *keys]), specs)


def read(directory: Path, *, alike: bool = True, trials: bool = False) -> pd.DataFrame:
    """The measurements of all runs below `directory`: the `frame` of `load`, which raises alike."""
    return load(directory, alike=alike, trials=trials).frame


def some(
    frame: pd.DataFrame, benchmark: str, strategies: Sequence[str], directory: Path
) -> pd.DataFrame:
    """The rows of a frame read from `directory` that are `called` so, which raises alike; no name
    stands for all.
    """
    frame = called(frame, "benchmark", [benchmark] if benchmark else [], directory)
    return called(
        frame, "strategy", strategies, f"{directory}{' on ' * bool(benchmark)}{benchmark}"
    )


def called(
    frame: pd.DataFrame, column: str, names: Sequence[str], where: str | Path
) -> pd.DataFrame:
    """The rows of a frame whose benchmark or strategy has one of the names: a whole label, or its
    part before the bracket. All rows if there are no names.

    `where` is what messages call the place that the frame is from.

    Raises:
        UserError: nothing has one of the names.
    """
    if not names:
        return frame
    labels = {str(label): {str(label), name_of(str(label))} for label in frame[column].unique()}
    for name in names:
        if not any(name in own for own in labels.values()):
            known = set(labels) if "[" in name else set(map(name_of, labels))
            raise UserError(f"no results of the {column} {name!r} in {where}{near(name, known)}")
    wanted = [label for label, own in labels.items() if own.intersection(names)]
    return frame[frame[column].isin(wanted)]


def csv_paths(directory: Path) -> list[Path]:
    """The CSVs of all runs below a directory, without those of trials of `cl-bnn search`; nothing
    is checked.
    """
    return [path for path in walked(directory, "seed*.csv") if not _of_trial(path)]


def _of_trial(path: Path) -> bool:
    try:
        return TRIAL in json.loads(_json_path(path).read_bytes())["spec"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _files(directory: Path, trials: bool) -> Iterator[tuple[Path, dict[str, dict[str, object]]]]:
    """The CSV of every run below a directory, or trial too, and what its JSON holds, if any."""
    for path in walked(directory, "seed*.csv", _require_readable):
        record = _checked_record(path) if _json_path(path).is_file() else {}
        if trials or TRIAL not in record.get("spec", {}):
            yield path, record


def _check_whole(path: Path, frame: pd.DataFrame) -> None:
    """Raise `UserError` if not every task was measured after the last one: rows are missing."""
    found = frame[frame["metric"].isin(["accuracy", UNTRAINED])]
    found = found[found["epoch"].isna() & found["on"].notna()]
    if found.empty:
        return
    tasks = set(range(int(found["on"].max()) + 1))
    if set(found["on"][found["after"] == max(tasks)]) != tasks:
        raise UserError(
            f"{path} is cut short: not all of its {len(tasks)} tasks were measured after the last: "
            "restore it, or delete it and run again"
        )


def _check_made_alike(
    path: Path, label: tuple[str, str], record: Mapping[str, Mapping[str, object]],
    made_of: dict[tuple[str, ...], tuple[Path, object]],
) -> None:  # fmt: skip
    """Raise `UserError` if a file of the user's own has changed since a run before: data, and the
    code of stream and network, between any two on a benchmark, other code between two of one label.
    `made_of` holds what was found so far.
    """
    spec = record["spec"]
    builders = [str(_table(spec.get(table)).get("build")) for table in ("stream", "model")]
    modules = [builder.partition(":")[0].rpartition(".")[2] for builder in builders]
    everybodys = tuple(f"/{name}{end}" for name in modules for end in (".py", "/__init__.py"))
    for file, digest in _table(record.get("info", {}).get("own_files")).items():
        shared = label[:1] if f"/{file}".endswith((".npz", *everybodys)) else label
        before, other = made_of.setdefault((*shared, file), (path, digest))
        if other != digest:
            raise UserError(
                f"{path} and {before} were made of another {file} each: make them anew with one, "
                "or keep them in folders of their own"
            )


def _check_alike(specs: Mapping[tuple[str, str, int], Mapping[str, object]]) -> None:
    """Raise `UserError` if seeds of one label have other settings, as when a recipe was changed, or
    strategies another stream or network.
    """
    first: dict[tuple[str, ...], tuple[str, Mapping[str, object]]] = {}
    for (benchmark, strategy, seed), spec in specs.items():
        told = {key: value for key, value in spec.items() if key != MEASURED}
        shared = {key: told[key] for key in told if key.partition(".")[0] in OF_BENCHMARK}
        for place, mine, name in (
            ((benchmark, strategy), told, f"seed {seed}"),
            ((benchmark,), shared, f"{strategy}, seed {seed},"),
        ):
            known, other = first.setdefault(place, (name, mine))
            unlike = difference(other, mine)
            if unlike is not None:
                raise UserError(
                    f"{'/'.join(place)}: {known} has {unlike[0]} = {unlike[1]!r}, and {name} "
                    f"{unlike[2]!r}: make them anew with one recipe"
                )


def _numbers(record: Mapping[str, Mapping[str, object]]) -> dict[Hashable, object]:
    """The numbers beside the spec in the JSON of a run."""
    return {k: v for k, v in record.get("info", {}).items() if type(v) in (int, float)}


def _table(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def walked(
    directory: Path, pattern: str, onerror: Callable[[OSError], None] | None = None
) -> list[Path]:
    """What has a name that fits a pattern below a folder, in order; links to folders are followed,
    each folder once, and hidden ones, as editors make them, left out. `onerror` is told of folders
    that cannot be read.
    """
    found, seen = [], set()
    for folder, inner, files in os.walk(directory, onerror=onerror, followlinks=True):
        here = os.path.realpath(folder)
        if here in seen:
            inner.clear()
            continue
        seen.add(here)
        found += [Path(folder, name) for name in fnmatch.filter([*files, *inner], pattern)]
        # Folders before links to them, which may have other names.
        kept = (name for name in inner if not name.startswith("."))
        inner[:] = sorted(kept, key=lambda n: (os.path.islink(os.path.join(folder, n)), n))
    return sorted(found)


def _require_readable(error: OSError) -> None:
    """Results that may not be read are not left out without a word; those that are gone are."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _json_path(path: Path) -> Path:
    return path.parent / f"{path.name.removesuffix('.csv')}.json"


def _csv_bytes(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        writer.writerow(row._replace(value=format(row.value, VALUE_FORMAT)))  # type: ignore[arg-type]
    return text.getvalue().encode()


def _checked_record(path: Path) -> dict[str, dict[str, object]]:
    """The JSON beside the CSV at `path`, if it is whole and vouches for that CSV."""
    json_path = _json_path(path)
    mend = "delete it and the CSV and run again"
    try:
        record = json.loads(json_path.read_bytes())
        sha256, spec = record["csv_sha256"], record["spec"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{json_path} is not the JSON of a run ({error!r}): {mend}") from error
    for name, value in (("spec", spec), ("info", record.get("info", {}))):
        if not isinstance(value, dict):
            what = f"its {name} is no table"
            raise UserError(f"{json_path} is not the JSON of a run ({what}): {mend}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise UserError(
            f"{path} was edited after it was written (its SHA-256 is not the one in "
            f"{json_path.name}): restore it, or delete both files and run again"
        )
    return dict(record)


def difference(
    on_file: Mapping[str, object], asked: Mapping[str, object], prefix: str = ""
) -> tuple[str, object, object] | None:
    """The first key, in order of name, with two values, and the values; a missing one is None."""
    for key in sorted({*on_file, *asked}):
        old, new = on_file.get(key), asked.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            inner = difference(old, new, f"{prefix}{key}.")
            if inner is not None:
                return inner
        elif old != new or (key in on_file) != (key in asked):
            return f"{prefix}{key}", old, new
    return None


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        # Only where a number is missing: a recipe may be called "null".
        missing = {"on": [""], "epoch": [""], "value": ["", "nan"]}
        frame = pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values=missing)
        frame = frame[list(COLUMNS)]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is not a table of results ({one_line(error)}): expected columns "
            f"{', '.join(COLUMNS)}"
        ) from error
    if frame.empty:
        raise UserError(
            f"{path} is cut short, no measurement is in it: restore it, or delete it and run again"
        )
    return frame
