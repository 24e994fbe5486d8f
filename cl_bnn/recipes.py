"""Recipes: the TOML files that say what is run, and how they become calls of functions.

A strategy recipe names a strategy class and its keyword arguments, a benchmark recipe names a
stream, a network and what every method shares. Three levels, the later wins: `[defaults]`,
`[on.<benchmark>]`, the user's overrides. The builder's signature is the schema.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

from cl_bnn._annotations import describe, fits
from cl_bnn._builders import bind, import_target, importable, keywords, own_file
from cl_bnn._labels import name_of
from cl_bnn._recipe_files import (
    TYPE_NAMES,
    Kind,
    find,
    is_count,
    names,
    read,
    require_own_name,
)
from cl_bnn._spec import ARITHMETIC, Spec
from cl_bnn._strategy_recipes import (
    TABLES,
    PluginRecipe,
    StrategyRecipe,
    beside,
    load_strategy,
)
from cl_bnn.errors import UserError, near, one_line, out_of_memory, reason

__all__ = [
    "BenchmarkRecipe",
    "Kind",
    "Spec",
    "StrategyRecipe",
    "build",
    "check",
    "load_benchmark",
    "load_strategy",
    "made",
    "names",
    "resolve",
    "takes",
]

BENCHMARK_KEYS = {"title": str, "epochs": int, "batch_size": int, "stream": dict, "model": dict}
# How many bytes file systems allow to the name of a folder.
LONGEST = 255
# What the names of a benchmark's figures have besides, while they are written.
FIGURE = 32
# What an override may change besides the tables.
COUNTS = ("epochs", "stop_after", "batch_size")

# The tables of a pair whose settings are named in short in the labels of runs.
OWN = ("", *TABLES)

# What the runner itself hands to each builder, and what a recipe may therefore not set.
FROM_RUNNER = {
    "stream": frozenset({"seed", "data_root"}),
    "model": frozenset({"input_shape", "in_features", "out_features", "n_tasks", "n_heads"}),
    "strategy": frozenset({
        "model", "train_set_size", "eval_seed", "device", "evaluator", "plugins", "objective",
        "train_epochs", "train_mb_size", "eval_mb_size", "stop_after", *ARITHMETIC,
    }),
    "plugin": frozenset(),
}  # fmt: skip


@dataclass(frozen=True)
class BenchmarkRecipe:
    """What every method shares: stream, network, epochs a task, examples a batch."""

    name: str
    title: str
    epochs: int
    batch_size: int
    stream: dict[str, Any]
    model: dict[str, Any]
    path: Path

    def takes(self, section: str, key: str) -> bool:
        """Whether the builder of its `stream` or its `model` takes a setting.

        Raises:
            UserError: it cannot be imported.
        """
        table: dict[str, Any] = getattr(self, section)
        return bool(takes(table["build"], [_folder(self.path)], [key]))


def load_benchmark(name_or_path: str) -> BenchmarkRecipe:
    """The benchmark recipe of this name or in this TOML file.

    Raises:
        UserError: unknown name, unreadable file, broken TOML, unknown or missing keys.
    """
    path = find("benchmarks", name_or_path)
    require_own_name("benchmarks", path)
    table = read(path, BENCHMARK_KEYS, required=set(BENCHMARK_KEYS))
    for section in ("stream", "model"):
        if not isinstance(table[section].get("build"), str):
            raise UserError(f'{path}: [{section}] needs the line build = "module:function"')
    return BenchmarkRecipe(name=path.stem, path=path, **table)


def resolve(
    benchmark: BenchmarkRecipe, strategy: StrategyRecipe, overrides: Mapping[str, object]
) -> Spec:
    """Put a strategy on a benchmark, with the user's overrides on top.

    Keys of `overrides`: `epochs`, `stop_after`, `batch_size`, `precision`, `channels_last`,
    `stream.<key>`, `model.<key>`, `<part>.<key>` where the strategy has a part, `<plugin>.<key>`;
    any other is a setting of the strategy. Nothing is imported and no value is judged here: see
    `check`.

    Raises:
        UserError: a key with another prefix, a part that is no strategy, or settings on a benchmark
            whose name is a shipped one misspelt.
    """
    _judge_sections(strategy, benchmark)
    part = _part_of(strategy, benchmark, overrides)
    tables = _tables(benchmark, strategy, part)
    changed: dict[str, dict[str, object]] = {"benchmark": {}, "strategy": {}}
    for key, value in overrides.items():
        section, short = _place(key, tables, strategy.name)
        if _override(tables[section], short, value):
            of = "benchmark" if section in ("", "stream", "model") else "strategy"
            label = short if section in OWN else key
            changed[of][label] = tables[section][short]
    paths = [benchmark.path, *strategy.paths]
    if part is not None:
        tables["strategy"][strategy.part] = tables.pop(strategy.part)
        paths += part.paths
    return Spec(
        benchmark=_label(benchmark.name, changed["benchmark"], LONGEST - FIGURE),
        strategy=_label(strategy.name, changed["strategy"]),
        stream=tables["stream"],
        model=tables["model"],
        build=strategy.build,
        settings=tables["strategy"],
        plugins={plugin.name: tables[plugin.name] for plugin in strategy.plugins},
        folders=tuple(dict.fromkeys(map(_folder, paths))),
        **tables[""],
    )


def _judge_sections(strategy: StrategyRecipe, benchmark: BenchmarkRecipe) -> None:
    """Refuse `[on.split_mnst]`, which nothing would ever read."""
    known = names("benchmarks")
    parts: list[StrategyRecipe | PluginRecipe] = [strategy, *strategy.plugins]
    for recipe in parts:
        mine = recipe.path.parent
        folders = mine, mine.parent / "benchmarks", benchmark.path.parent, Path()
        for name in recipe.on.keys() - {*known, benchmark.name}:
            if any((folder / f"{name}.toml").is_file() for folder in folders):
                continue
            base = Path(name).stem if name.endswith(".toml") else name_of(name)
            close = get_close_matches(base.lower(), known, n=1, cutoff=0.9)
            if base.lower() == benchmark.name.lower():
                close = [benchmark.name]
            elif close and base.startswith(close[0]):  # a variant of the user's own, from elsewhere
                close = []
            if base != name or close:
                raise UserError(
                    f"{recipe.path}: on.{name}: no name of a benchmark; did you mean "
                    f"{(close or [base])[0]!r}?"
                )


def _part_of(
    strategy: StrategyRecipe, benchmark: BenchmarkRecipe, overrides: Mapping[str, object]
) -> StrategyRecipe | None:
    """The recipe that a strategy's part names, if it has one."""
    if not strategy.part:
        return None
    written = strategy.defaults | strategy.on.get(benchmark.name, {})
    named = str({**written, **overrides}.get(strategy.part, ""))
    told = strategy.part in overrides
    found = load_strategy(named if told else beside(named, strategy.path))
    if found.part:
        raise UserError(
            f"{strategy.part} must be a strategy of a single network, and {named!r} puts several "
            "together"
        )
    if found.plugins:
        raise UserError(
            f"{strategy.part} = {named!r} has plugins, which no part of {strategy.name} takes: "
            "name a strategy without"
        )
    return found


def _tables(
    benchmark: BenchmarkRecipe, strategy: StrategyRecipe, part: StrategyRecipe | None
) -> dict[str, dict[str, Any]]:
    """The settings of a pair by table: `OWN`, then those of a part and of plugins by name."""
    tables: dict[str, dict[str, Any]] = {
        "": {
            "epochs": benchmark.epochs,
            "batch_size": benchmark.batch_size,
            **{key: getattr(Spec, key) for key in ARITHMETIC},
        },
        "stream": dict(benchmark.stream),
        "model": dict(benchmark.model),
        "strategy": strategy.defaults | strategy.on.get(benchmark.name, {}),
    }
    if part is not None:
        tables[strategy.part] = _part(part, benchmark.name)
    return tables | {plugin.name: _part(plugin, benchmark.name) for plugin in strategy.plugins}


def check(spec: Spec) -> None:
    """Import the builders and hold every key and value against their signatures.

    Raises:
        UserError: a builder that cannot be imported, an unknown or missing key, a value of the
            wrong type.
    """
    _check_numbers(spec)
    if "build" in spec.settings:
        raise UserError("build is no setting of a strategy; write a recipe file of your own")
    parts = [(key, value) for key, value in spec.settings.items() if isinstance(value, dict)]
    of_plugins = [
        f"{name}.{k}" for name, table in spec.plugins.items() for k in table if k != "build"
    ]
    for section, prefix, table in (
        ("stream", "stream.", spec.stream),
        ("model", "model.", spec.model),
        ("strategy", "", {"build": spec.build, **spec.settings}),
        *(("strategy", f"{key}.", value) for key, value in parts if "build" in value),
        *(("plugin", f"{name}.", table) for name, table in spec.plugins.items()),
    ):
        settings = {key: value for key, value in table.items() if key != "build"}
        builder = import_target(table["build"], spec.folders)
        beside = of_plugins if (section, prefix) == ("strategy", "") else ()
        bind(builder, settings, FROM_RUNNER[section], prefix, table["build"], beside)


def _check_numbers(spec: Spec) -> None:
    """Hold what every method shares against what it may be."""
    for key in COUNTS:
        value = getattr(spec, key)
        if not (is_count(value) or key == "stop_after" and value is None):
            raise UserError(f"{key} = {value!r}: expected {TYPE_NAMES[int]}")
    for key in ARITHMETIC:
        annotation = signature(Spec).parameters[key].annotation
        if not fits(getattr(spec, key), annotation):
            raise UserError(f"{key} = {getattr(spec, key)!r}: expected {describe(annotation)}")
    if spec.stop_after is not None and spec.stop_after > spec.epochs:
        raise UserError(f"stop_after = {spec.stop_after}: expected at most epochs = {spec.epochs}")
    norm = spec.model.get("norm")
    if norm in ("batch", "shared", "per_task") and spec.batch_size == 1:
        raise UserError(
            f"model.norm = {norm!r} learns from the images of a batch, and batch_size is 1: take "
            "larger batches, or the norm 'layer' or 'none'"
        )


def build(target: str, folders: Sequence[str] = (), kind: type = object, /, **kwargs: Any) -> Any:
    """Call `target` ("module:function" or "module:Class") with these keyword arguments.

    `folders` are searched for modules besides the usual places; the current directory always is.

    Raises:
        UserError: the target cannot be imported, does not take one of them, refuses a value with a
            `ValueError` or an assertion (one of Avalanche's: with anything), or makes something
            that is not of the `kind`.
    """
    builder = import_target(target, folders)
    wanted = f"{kind.__name__} of {kind.__module__.rpartition('.')[0]}"
    if isinstance(builder, type) and not issubclass(builder, kind):
        raise UserError(f"{target} is no {wanted}: inherit from one")
    try:
        signature(builder).bind(**kwargs)
    except TypeError as error:
        raise UserError(f"build = {target!r}: {one_line(error)}") from error
    try:
        with importable(folders):  # what the builder itself imports by name
            made = builder(**kwargs)
    except UserError:
        raise
    except Exception as error:
        ours = not target.startswith("avalanche.")  # whose classes take any value and break down
        if ours and not isinstance(error, ValueError | AssertionError) or out_of_memory(error):
            raise
        placed = own_file(target, folders) is not None or not str(error)
        told = reason(error) if placed else one_line(error)
        raise UserError(f"{target}: {told}") from error
    if not isinstance(made, kind):
        raise UserError(f"{target} makes a {type(made).__name__}, expected a {wanted}")
    return made


def made(spec: Spec, table: Mapping[str, Any], kind: type, **given: Any) -> Any:
    """What the builder of a table of the spec makes of its settings and of what else is given; see
    `build`.
    """
    settings = {key: value for key, value in table.items() if key != "build"}
    return build(table["build"], spec.folders, kind, **settings, **given)


def takes(target: str, folders: Sequence[str], names: Iterable[str]) -> set[str]:
    """Those of `names` that the function or class `target` takes as keywords.

    Raises:
        UserError: the target cannot be imported.
    """
    parameters = keywords(import_target(target, folders))
    return {name for name in names if name in parameters}


def _part(recipe: StrategyRecipe | PluginRecipe, benchmark: str) -> dict[str, Any]:
    """What stands within or beside a strategy: its class, and its settings on a benchmark."""
    return {"build": recipe.build} | recipe.defaults | recipe.on.get(benchmark, {})


def _place(key: str, tables: Iterable[str], strategy: str) -> tuple[str, str]:
    """The table that an override belongs to, and its key there."""
    if key in COUNTS + ARITHMETIC:
        return "", key
    section, dot, short = key.partition(".")
    if not dot:
        return "strategy", key
    known = [table for table in tables if table not in ("", "strategy")]
    if section not in known or not short:
        raise UserError(f"{key}: unknown section {section!r} of {strategy}{near(section, known)}")
    return section, short


def _override(table: dict[str, Any], key: str, value: object) -> bool:
    """Set a key; False if that is what the recipe says already."""
    before = table.get(key)
    if isinstance(before, float) and type(value) is int:
        value = float(value)
    table[key] = value
    return type(before) is not type(value) or before != value


def _label(name: str, changed: Mapping[str, object], longest: int = LONGEST) -> str:
    """A recipe's name with what differs from it; safe as the name of a folder."""
    if not changed:
        return name
    parts = (f"{key}={_text(value)}" for key, value in sorted(changed.items()))
    label = f"{name}[{','.join(parts)}]"
    if len(label.encode()) > longest:
        raise UserError(
            f"a folder cannot be called {label[:60]}...: put settings as long as these into a "
            "recipe file of your own"
        )
    return label


def _text(value: object) -> str:
    """A value in a label; whatever a file system might mind becomes an underscore."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"[^\w.+-]+", "_", text)


def _folder(path: Path) -> str:
    return str(path.resolve().parent)
