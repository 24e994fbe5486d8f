"""A configuration of the BayesBiNN reproduction as runs of ours."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

from cl_bnn import recipes
from cl_bnn._builders import import_target
from cl_bnn.reproduction.keys import Config
from cl_bnn.reproduction.meaning import Entry, dataset, entries
from cl_bnn.run import EvalEvery, Run


@dataclass(frozen=True)
class Translation:
    """A configuration as a strategy on a benchmark, and how every key became part of it."""

    config: Config
    benchmark: recipes.BenchmarkRecipe
    strategy: recipes.StrategyRecipe
    entries: list[Entry]

    def lines(self) -> Iterator[str]:
        """For the terminal: the keys in the order of the file, then what has no key."""
        config = self.config
        told = ", as its keys tell" if config.inferred else ""
        names = f"strategy {self.strategy.name}, benchmark {self.benchmark.name}"
        yield f"{config.path}: {names} (for {config.script}{told})"
        order = list(config.values)
        keyed = sorted((e for e in self.entries if e.key), key=lambda e: order.index(e.key))
        yield from _aligned((_equation(e.key, config.values[e.key]), _meaning(e)) for e in keyed)
        yield "what its code does without a key:"
        rest = [e for e in self.entries if not e.key]
        yield from _aligned((_equation(e.setting, e.value), e.remark) for e in rest if e.setting)
        yield from (f"  {e.remark}" for e in rest if not e.setting)

    def plan(
        self, seeds: Iterable[int], overrides: Mapping[str, object], stop_after: int | None,
        eval_every: EvalEvery, out: Path,
    ) -> list[Run]:  # fmt: skip
        """A run for every seed, named by what differs from our recipes.

        Args:
            seeds: of the runs.
            overrides: settings of the user's own, which win.
            stop_after: end training after so many epochs, unless the file ends it before.
            eval_every: how often test sets are measured.
            out: the folder of the results.

        Raises:
            UserError: a setting that does not fit.
        """
        settings: dict[str, Any] = {e.setting: e.value for e in self.entries if e.setting}
        if stop_after is not None:
            settings["stop_after"] = min(stop_after, settings["stop_after"])
        changed = {key: v for key, v in settings.items() if v != self._standing(key, settings)}
        spec = recipes.resolve(self.benchmark, self.strategy, changed | dict(overrides))
        recipes.check(spec)
        return [Run(spec, seed, eval_every, out) for seed in seeds]

    def _standing(self, key: str, settings: Mapping[str, Any]) -> object:
        """The value of a setting that nobody changes."""
        benchmark, strategy = self.benchmark, self.strategy
        on = strategy.on.get(benchmark.name, {})
        if key in ("epochs", "batch_size"):
            return getattr(benchmark, key)
        if key == "stop_after":
            return settings["epochs"]
        section, _, short = key.rpartition(".")
        tables = {
            "stream": benchmark.stream,
            "model": benchmark.model,
            "": {"build": strategy.build} | strategy.defaults | on,
        }
        if short in tables[section]:
            return tables[section][short]
        target = settings.get("model.build") if section == "model" else None
        parameters = signature(import_target(target or tables[section]["build"], ())).parameters
        return parameters[short].default if short in parameters else None


def translate(config: Config) -> Translation:
    """What a configuration means here.

    Raises:
        UserError: a value that no run here can have.
    """
    found = list(entries(config))
    name = "permuted_mnist" if config.continual else dataset(config)
    benchmark = recipes.load_benchmark(name)
    build = benchmark.model["build"]
    if any(e.setting == "model.build" and e.value != build for e in found):
        # The other settings in the recipe are those of another network.
        benchmark = replace(benchmark, model={"build": build})
    strategy = recipes.load_strategy({"bayesbinn": "bayesbinn_reference"}.get(config.method, "ste"))
    return Translation(config, benchmark, strategy, found)


def _equation(name: str, value: object) -> str:
    return f"{name} = {json.dumps(value)}"


def _meaning(entry: Entry) -> str:
    parts = [_equation(entry.setting, entry.value)] if entry.setting else []
    return ", ".join([*parts, entry.remark] if entry.remark else parts)


def _aligned(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    held = list(pairs)
    width = max((len(left) for left, _ in held), default=0)
    for left, right in held:
        yield f"  {left:{width}}  {right}".rstrip()
