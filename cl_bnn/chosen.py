"""What a search has found: its trials as a table, and the chosen settings as lines of a recipe."""

import json
import re
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from cl_bnn import recipes
from cl_bnn._recipe_files import root, value_of
from cl_bnn._search_space import FIRST_SEED, TASKS_SEEN, Value
from cl_bnn.atomic import atomic_write
from cl_bnn.errors import UserError
from cl_bnn.report.tables import NOTHING, Table
from cl_bnn.trials import Search, Trial

#: Where in a recipe the settings go: into `[on.<benchmark>]`, or into `[defaults]`.
Place = Literal["on", "defaults"]
# How a line begins that says where settings come from.
FOUND_BY = "# Found by "


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest value, the first of them.

    Raises:
        UserError: all have failed.
    """
    done = [trial for trial in trials if trial.value is not None]
    if not done:
        raise UserError(
            f"all {len(trials)} trials failed, the first: {trials[0].message}; delete the folder "
            "of the search to make them anew"
        )
    return max(done, key=lambda trial: (trial.value, -trial.number))


def table(search: Search, trials: Sequence[Trial]) -> Table:
    """The trials, best first and failed ones last; below, why they failed."""
    title = (
        f"{search.name}: accuracy on held-out training images of the first {search.seen} of "
        f"{search.n_tasks} tasks, once they are learned [%]"
    )
    head = ["trial", *(f"seed {seed}" for seed in search.seeds), "mean", *search.space]
    ranked = sorted(trials, key=lambda t: (t.value is None, -(t.value or 0.0), t.number))
    failed = [f"Trial {trial.number} failed: {trial.message}" for trial in ranked if trial.message]
    return Table(title, head, [_row(search, trial) for trial in ranked], "\n".join(failed))


def _row(search: Search, trial: Trial) -> list[str]:
    accuracies = [trial.accuracies.get(str(seed)) for seed in search.seeds]
    values = [_text(trial.settings[key]) for key in search.space]
    return [str(trial.number), *map(_percent, [*accuracies, trial.value]), *values]


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.2f}"


def _text(value: Value) -> str:
    """A value as TOML has it."""
    return repr(value) if type(value) in (int, float) else json.dumps(value)


# The command -------------------------------------------------------------------------------------


def command(search: Search, n_trials: int) -> str:
    """The line that makes these trials."""
    words = ["cl-bnn", "search", _name("benchmarks", search.benchmark.path)]
    words += ["--strategy", "+".join(_parts(search.strategy)), "--trials", str(n_trials)]
    if search.seen != TASKS_SEEN:
        words += ["--tasks-seen", str(search.seen)]
    for key, value in search.overrides.items():
        plain = isinstance(value, str) and value_of(value) == value  # no true, and no 1e-3
        words += ["--set", f"{key}={value if plain else json.dumps(value)}"]
    if search.seeds != (FIRST_SEED,):
        words += ["--seeds", "".join(f"{seed}," for seed in search.seeds)]
    return shlex.join(words)


def _parts(recipe: recipes.StrategyRecipe) -> list[str]:
    """The names or paths of a recipe and of the plugins that were put beside it."""
    added = recipe.plugins[len(recipe.plugins) - recipe.added :]
    return [_name("strategies", path) for path in (recipe.path, *(p.path for p in added))]


def _name(kind: recipes.Kind, path: Path) -> str:
    """The name of a recipe that comes with the package, else its path."""
    return path.stem if path == root() / kind / f"{path.stem}.toml" else str(path)


# Recipes -----------------------------------------------------------------------------------------

Section = tuple[str, ...]


def lines(search: Search, trial: Trial, origin: str, place: Place = "on") -> list[str]:
    """TOML to paste into the strategy's recipe; a recipe of its own where plugins stand beside an
    optimiser and nobody has written one yet.

    Args:
        search: what was searched.
        trial: the one that was chosen.
        origin: the command that found it.
        place: the tables that the settings belong to.
    """
    found = [] if _has_recipe(search) else [*_head(search), ""]
    found.append(FOUND_BY + origin)
    for section, values in _sections(search, trial, place).items():
        found += [f"[{_dotted(section)}]", *(f"{k} = {_text(v)}" for k, v in values.items()), ""]
    return found[:-1]


def write(path: Path, search: Search, trial: Trial, origin: str, place: Place = "on") -> None:
    """Put the settings of a trial into the recipe at `path`, comments and layout kept.

    Where there is no file, it begins as a copy of the strategy's recipe, or as a new one of an
    optimiser with plugins. The arguments are those of `lines`.

    Raises:
        UserError: see `text`; or the file cannot be written.
    """
    atomic_write(path, text(path, search, trial, origin, place).encode())


def text(path: Path, search: Search, trial: Trial, origin: str, place: Place = "on") -> str:
    """What `write` writes.

    Raises:
        UserError: tomlkit is not installed, the file cannot be read, or it is not the recipe of a
            strategy that would have the settings of the trial.
    """
    tomlkit = _tomlkit()
    document = tomlkit.parse(_source(path, search))
    sections = _sections(search, trial, place)
    for section, values in sections.items():
        table: Any = document
        for depth, name in enumerate(section, start=1):
            table = table.setdefault(name, tomlkit.table(depth == 1 and len(section) > 1))
        for key, value in values.items():
            table[key] = value
    written = _with_origin(tomlkit.dumps(document), next(iter(sections)), origin)
    _check(path, written, search, trial)
    return written


def _sections(search: Search, trial: Trial, place: Place) -> dict[Section, dict[str, Value]]:
    """The settings by the tables that they belong to: those of a plugin in one of its own."""
    outer = ("defaults",) if place == "defaults" else ("on", search.benchmark.name)
    told = {} if _has_recipe(search) else _told_alone(search)
    rest = {key: value for key, value in told.items() if key not in trial.settings}
    found: dict[Section, dict[str, Value]] = {outer: rest} if rest else {}
    for key, value in trial.settings.items():
        plugin, dot, short = key.partition(".")
        section, name = ((*outer, plugin), short) if dot else (outer, key)
        found.setdefault(section, {})[name] = value
    return found


def _dotted(section: Section) -> str:
    return ".".join(n if re.fullmatch(r"[\w-]+", n, re.ASCII) else json.dumps(n) for n in section)


def _has_recipe(search: Search) -> bool:
    """Whether the recipe of the strategy can hold all its settings: a plugin's own cannot."""
    recipe = search.strategy
    if not recipe.plugins:
        return True
    keys = tomllib.loads(recipe.path.read_text(encoding="utf-8-sig"))
    return recipe.written and "plugins" in keys


def _head(search: Search) -> list[str]:
    """The beginning of a recipe that puts plugins beside an optimiser."""
    recipe = search.strategy
    optimizer, *plugins = _parts(recipe)
    if recipe.written:  # a plugin, and the optimiser that it names
        optimizer = recipe.optimizer
        plugins = [_name("strategies", plugin.path) for plugin in recipe.plugins]
    return [
        f"title = {json.dumps(recipe.title)}",
        f"optimizer = {json.dumps(optimizer)}",
        f"plugins = {json.dumps(plugins)}",
    ]


def _told_alone(search: Search) -> dict[str, Value]:
    """What the recipe of a plugin says of its optimiser where it has that alone: a recipe of both
    has to say so, too.
    """
    recipe = search.strategy
    if not recipe.written:
        return {}
    plain = recipes.load_strategy(recipe.optimizer)
    told = recipes.resolve(search.benchmark, recipe, {}).settings
    known = recipes.resolve(search.benchmark, plain, {}).settings
    return {key: value for key, value in told.items() if known.get(key) != value}


def _source(path: Path, search: Search) -> str:
    """What the recipe is before it is changed."""
    if path.exists():
        recipes.load_strategy(str(path.absolute()))  # its mistakes are told in one line
    elif not _has_recipe(search):
        return "\n".join(_head(search)) + "\n"
    else:
        path = search.strategy.path
    return path.read_text(encoding="utf-8-sig")


def _with_origin(toml: str, section: Section, origin: str) -> str:
    """The text with the origin of the settings below the header of their table; an older one goes
    away, there or in the comment above the header.
    """
    header = re.escape(f"[{_dotted(section)}]")
    old = re.escape(FOUND_BY)
    line = f"{FOUND_BY}{origin}\n"
    above = rf"(?:{old}[^\n]*\n(?:#[^\n]*\n)*)?"
    found, count = re.subn(
        rf"^{above}({header}[^\n]*\n)({old}[^\n]*\n)?",
        lambda m: m[1] + line,
        toml,
        flags=re.M,
    )
    return found if count else f"{toml}\n{line}"


def _check(path: Path, written: str, search: Search, trial: Trial) -> None:
    """Hold the strategy of a recipe against the one that was searched."""
    beside = path.resolve().parent  # where recipes that it names are looked for
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_text(written, encoding="utf-8")
        for other in beside.glob("*.toml"):
            if other.name != path.name:
                (copy.parent / other.name).symlink_to(other)
        recipe = recipes.load_strategy(str(copy))
        spec = recipes.resolve(search.benchmark, recipe, search.overrides)
    wanted = search.spec(trial.settings)
    for name in ("build", "settings", "plugins"):
        if getattr(spec, name) != getattr(wanted, name):
            raise UserError(
                f"{path}: with these lines its {name} on {search.benchmark.name} would not be "
                f"those of {search.strategy.name} that were searched: choose another file"
            )
    here = replace(spec, folders=(str(path.resolve().parent), *spec.folders))
    for code in wanted.own_files():
        if code not in here.own_files():
            raise UserError(
                f"{path}: a recipe there would not find {code}: choose a file in {code.parent}"
            )


def _tomlkit() -> Any:
    try:
        import tomlkit
    except ImportError as error:
        raise UserError("--write needs tomlkit: pip install 'cl_bnn[search]'") from error
    return tomlkit
