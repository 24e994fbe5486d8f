"""Strategy recipes: a method, or an optimiser with plugins beside it (`ste+ewc`)."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cl_bnn._recipe_files import find, names, read
from cl_bnn.errors import UserError, near

KEYS = {
    "title": str, "paper": str, "build": str, "part": str, "optimizer": str, "plugin": str,
    "plugins": list, "defaults": dict, "on": dict,
}  # fmt: skip
# What a recipe can be: a strategy, a plugin with the optimiser it has when it is named alone, or an
# optimiser with plugins.
FORMS = ({"build"}, {"plugin", "optimizer"}, {"plugins", "optimizer"})

# A name in `ste+der++`.
PART = re.compile(r"[^+]+(?:\+\+(?!\w))?")


@dataclass(frozen=True)
class PluginRecipe:
    """What stands beside an optimiser: a class of plugins, and its settings."""

    name: str
    build: str
    defaults: dict[str, Any]
    on: dict[str, dict[str, Any]]
    path: Path


@dataclass(frozen=True)
class StrategyRecipe:
    """One method: the class that learns, and its settings in general and on single benchmarks.

    `part` is a setting, if any, that names another strategy recipe; what that one says of a
    benchmark is handed over in its place. `plugins` stand beside the class that learns.
    """

    name: str
    title: str
    paper: str
    build: str
    part: str
    defaults: dict[str, Any]
    on: dict[str, dict[str, Any]]
    path: Path
    plugins: tuple[PluginRecipe, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """The files that the recipe was read from."""
        return [self.path, *(plugin.path for plugin in self.plugins)]


def load_strategy(name_or_path: str) -> StrategyRecipe:
    """The strategy recipe of this name or in this TOML file; `a+b` is a with the plugin b.

    Raises:
        UserError: unknown name, unreadable file, broken TOML, unknown or missing keys, or parts
            that do not go together.
    """
    parts = [name_or_path] if "/" in name_or_path else PART.findall(name_or_path)
    first, *others = parts or [name_or_path]
    recipe = _load(first)
    if not others:
        return recipe
    plugins = (*recipe.plugins, *map(load_plugin, others))
    seen = [plugin.name for plugin in plugins]
    for name in seen:
        if seen.count(name) > 1:
            raise UserError(f"{name_or_path}: the plugin {name!r} stands there twice")
    if recipe.part:
        raise UserError(f"{name_or_path}: {recipe.name!r} puts strategies together; none of them")
    title = f"{recipe.title}; with {', '.join(others)}"
    name = "+".join([recipe.name, *others])
    return replace(recipe, name=name, title=title, plugins=plugins)


def load_plugin(name: str) -> PluginRecipe:
    """The plugin that a recipe describes.

    Raises:
        UserError: unknown name, a broken recipe, or one that is no plugin.
    """
    path = find("strategies", name)
    table = _read(path)
    if "plugin" not in table:
        known = [n for n in names("strategies") if "plugin" in _read(find("strategies", n))]
        raise UserError(
            f"{name!r} is no plugin: an optimiser comes first, then plugins, as in ste+ewc"
            f"{near(name, known)}"
        )
    return _plugin(path, table)


def _load(name_or_path: str) -> StrategyRecipe:
    path = find("strategies", name_or_path)
    table = _read(path)
    if "build" in table:
        return StrategyRecipe(
            name=path.stem,
            title=table["title"],
            paper=table.get("paper", ""),
            build=table["build"],
            part=table.get("part", ""),
            defaults=table.get("defaults", {}),
            on=table.get("on", {}),
            path=path,
        )
    base = _load(table["optimizer"])
    base = replace(
        base, name=path.stem, title=table["title"], paper=table.get("paper", ""), path=path
    )
    if "plugin" in table:
        return replace(base, plugins=(*base.plugins, _plugin(path, table)))
    plugins = tuple(_told(load_plugin(name), table) for name in table["plugins"])
    mine = _without(table, {plugin.name for plugin in plugins})
    on = {name: base.on.get(name, {}) | mine["on"].get(name, {}) for name in base.on | mine["on"]}
    plugins = (*base.plugins, *plugins)
    return replace(base, defaults=base.defaults | mine["defaults"], on=on, plugins=plugins)


def _read(path: Path) -> dict[str, Any]:
    """The table in a strategy's file, its form judged."""
    table = read(path, KEYS, required={"title"})
    if not any(form <= set(table) for form in FORMS):
        raise UserError(
            f"{path}: the key 'build' is missing (text; or 'optimizer' with 'plugin' or 'plugins')"
        )
    for benchmark, section in table.get("on", {}).items():
        if not isinstance(section, dict):
            raise UserError(f"{path}: on.{benchmark} must be a table, as in [on.{benchmark}]")
    return table


def _plugin(path: Path, table: dict[str, Any]) -> PluginRecipe:
    defaults, on = table.get("defaults", {}), table.get("on", {})
    return PluginRecipe(path.stem, table["plugin"], defaults, on, path)


def _told(plugin: PluginRecipe, table: dict[str, Any]) -> PluginRecipe:
    """The plugin with what a recipe that names it says of it: `[defaults.ewc]`, `[on.x.ewc]`."""
    found = table.get("on", {})
    on = {
        name: plugin.on.get(name, {}) | found.get(name, {}).get(plugin.name, {})
        for name in plugin.on | found
    }
    defaults = plugin.defaults | table.get("defaults", {}).get(plugin.name, {})
    return replace(plugin, defaults=defaults, on=on)


def _without(table: dict[str, Any], plugins: set[str]) -> dict[str, Any]:
    """The tables of settings without those of the plugins."""
    on = {
        name: {key: value for key, value in section.items() if key not in plugins}
        for name, section in table.get("on", {}).items()
    }
    defaults = table.get("defaults", {}).items()
    return {"defaults": {k: v for k, v in defaults if k not in plugins}, "on": on}
