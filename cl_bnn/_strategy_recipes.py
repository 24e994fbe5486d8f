"""Strategy recipes: a method, or an optimiser with plugins beside it (`ste+ewc`)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cl_bnn._recipe_files import find, names, read, require_own_name
from cl_bnn._search_space import Axis, read_axes
from cl_bnn.errors import UserError, near

KEYS = {
    "title": str, "paper": str, "build": str, "part": str, "optimizer": str, "plugin": str,
    "plugins": list, "defaults": dict, "on": dict, "search": dict,
}  # fmt: skip
# What a recipe can be: a strategy, a plugin with the optimiser it has when it is named alone, or an
# optimiser with plugins.
FORMS = ({"build"}, {"plugin", "optimizer"}, {"plugins", "optimizer"})

# What neither a plugin nor a part can be called: its settings would pass for those of these.
TABLES = ("stream", "model", "strategy")

# A name in `ste+der++`, or a path in `ste+./mine++.toml`.
PART = re.compile(r"[^+]+(?:\+\+(?!\w)(?:\.toml)?)?")


@dataclass(frozen=True)
class PluginRecipe:
    """What stands beside an optimiser: a class of plugins, its settings, and which are searched."""

    name: str
    build: str
    defaults: dict[str, Any]
    on: dict[str, dict[str, Any]]
    path: Path
    search: dict[str, Axis] = field(default_factory=dict)


@dataclass(frozen=True)
class StrategyRecipe:
    """One method: the class that learns, and its settings in general and on single benchmarks.

    `part` is a setting, if any, that names another strategy recipe; what that one says of a
    benchmark is handed over in its place. `plugins` stand beside the class that learns, whose own
    recipe is `optimizer`; `search` says which of the class's settings are searched, and where.
    `bases` are the files of that optimiser's recipe. `added` is how many of the plugins the parts
    of its name have put beside the recipe at `path`, as in `ste+ewc`.
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
    optimizer: str = ""
    search: dict[str, Axis] = field(default_factory=dict)
    bases: tuple[Path, ...] = ()
    added: int = 0

    @property
    def written(self) -> bool:
        """Whether it is a file of its own, and not put together from the parts of its name."""
        return not self.added

    @property
    def paths(self) -> list[Path]:
        """The files that the recipe was read from."""
        return [self.path, *self.bases, *(plugin.path for plugin in self.plugins)]

    @property
    def space(self) -> dict[str, Axis]:
        """Where to search, by the keys of `--set`: its own settings, then those of the plugins."""
        beside = {f"{p.name}.{key}": axis for p in self.plugins for key, axis in p.search.items()}
        return self.search | beside


def load_strategy(name_or_path: str) -> StrategyRecipe:
    """The strategy recipe of this name or in this TOML file; `a+b` is a with the plugin b, unless
    it is a file or a recipe of this name comes with the package.

    Raises:
        UserError: unknown name, unreadable file, broken TOML, unknown or missing keys, or parts
            that do not go together.
    """
    whole = Path(name_or_path).is_file() or name_or_path in names("strategies")
    parts = [name_or_path] if whole else PART.findall(name_or_path)
    if "+".join(parts) != name_or_path:
        raise UserError(f"{name_or_path}: a name is missing beside a '+', as in ste+ewc")
    first, *others = parts or [name_or_path]
    recipe = _load(first)
    beside_it = [load_plugin(name) for name in others]
    for path in (recipe.path, *(plugin.path for plugin in beside_it)):
        require_own_name("strategies", path)
    if not others:
        return recipe
    plugins = (*recipe.plugins, *beside_it)
    _beside_one(recipe, plugins, name_or_path)
    added = [plugin.name for plugin in plugins[len(recipe.plugins) :]]
    title = f"{recipe.title}; with {', '.join(added)}"
    name = "+".join([recipe.name, *added])
    return replace(recipe, name=name, title=title, plugins=plugins, added=len(added))


def _beside_one(recipe: StrategyRecipe, plugins: Sequence[PluginRecipe], where: object) -> None:
    """Refuse a plugin that stands beside itself, or beside several strategies."""
    if recipe.part and plugins:
        raise UserError(
            f"{where}: {recipe.name!r} puts strategies together, and plugins stand beside one"
        )
    seen = [plugin.name for plugin in plugins]
    for name in seen:
        if seen.count(name) > 1:
            raise UserError(f"{where}: the plugin {name!r} stands there twice")


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


def _load(name_or_path: str, above: tuple[Path, ...] = ()) -> StrategyRecipe:
    """The recipe of a name or a file, which those `above` name as their optimiser."""
    path = find("strategies", name_or_path)
    table = _read(path)
    if "build" in table:
        return _of_a_class(name_or_path, path, table)
    if path.resolve() in above:
        raise UserError(f"{path}: it is its own optimizer")
    base = _load(beside(table["optimizer"], path), (*above, path.resolve()))
    plugins: tuple[PluginRecipe, ...]
    if "plugin" in table:
        plugins = (*base.plugins, _plugin(path, table))
        mine = _within(table, base.name, path)
    else:
        for name in table["plugins"]:
            if not isinstance(name, str):
                raise UserError(f"{path}: plugins holds {name!r}: expected names, as in ['ewc']")
        found = [load_plugin(beside(name, path)) for name in table["plugins"]]
        plugins = tuple(_told(plugin, table, path) for plugin in (*base.plugins, *found))
        mine = _without(table, {plugin.name for plugin in plugins})
    _beside_one(base, plugins, path)
    on = _on(base.on, mine)
    defaults = base.defaults | mine["defaults"]
    search = base.search | read_axes(mine["search"], defaults, f"{path}: search.")
    return replace(
        base, name=path.stem, title=table["title"], paper=table.get("paper", ""), path=path,
        defaults=defaults, on=on, plugins=plugins, search=search,
        bases=(*base.bases, base.path),
    )  # fmt: skip


def beside(name_or_path: str, path: Path) -> str:
    """What a recipe names: a file is looked for beside that one, then in the current folder."""
    there = path.parent / name_or_path
    return str(there) if name_or_path.endswith(".toml") and there.is_file() else name_or_path


def _of_a_class(name_or_path: str, path: Path, table: dict[str, Any]) -> StrategyRecipe:
    """The recipe of a strategy class, without plugins."""
    defaults = table.get("defaults", {})
    return StrategyRecipe(
        name=path.stem,
        title=table["title"],
        paper=table.get("paper", ""),
        build=table["build"],
        part=table.get("part", ""),
        defaults=defaults,
        on=table.get("on", {}),
        path=path,
        optimizer=name_or_path,
        search=read_axes(table.get("search", {}), defaults, f"{path}: search."),
    )


def _read(path: Path) -> dict[str, Any]:
    """The table in a strategy's file, its form judged."""
    table = read(path, KEYS, required={"title"})
    form = set().union(*FORMS) & set(table)
    if not any(known <= form for known in FORMS):
        raise UserError(
            f"{path}: the key 'build' is missing (text; or 'optimizer' with 'plugin' or 'plugins')"
        )
    if form not in FORMS:
        raise UserError(
            f"{path}: {', '.join(sorted(form))} together: expected build, or optimizer with plugin "
            "or plugins"
        )
    if "part" in table and "build" not in table:
        raise UserError(f"{path}: part: only a recipe with build has one")
    if table.get("part") in TABLES:
        raise UserError(f"{path}: part = {table['part']!r} names another part of a run")
    for benchmark, section in table.get("on", {}).items():
        if not isinstance(section, dict):
            raise UserError(f"{path}: on.{benchmark} must be a table, as in [on.{benchmark}]")
    return table


def _plugin(path: Path, table: dict[str, Any]) -> PluginRecipe:
    """The plugin of a recipe, without what is said of the optimiser that it has alone."""
    mine = _without(table, {Path(table["optimizer"]).stem})
    name, defaults, on, search = path.stem, mine["defaults"], mine["on"], mine["search"]
    if "." in name:
        raise UserError(
            f"{path}: a plugin's settings have its name and a dot before them: call it "
            f"{name.replace('.', '_')}.toml"
        )
    if name in TABLES:
        raise UserError(f"{path}: {name!r} names another part of a run: call it otherwise")
    for key in search:
        if key != name:
            known = [f"{name}.{setting}" for setting in defaults]
            raise UserError(f"{path}: search.{key}: no setting of the plugin{near(key, known)}")
    axes = _axes_of(name, search, defaults, path)
    return PluginRecipe(name, table["plugin"], defaults, on, path, axes)


def _axes_of(plugin: str, search: dict[str, Any], settings: Any, path: Path) -> dict[str, Axis]:
    """What `[search]` says of a plugin's settings, which have its name before them as for --set."""
    found = search.get(plugin, {})
    if not isinstance(found, dict):
        raise UserError(f"{path}: search.{plugin} = {found!r}: expected settings of the plugin")
    return read_axes(found, settings, f"{path}: search.{plugin}.")


def _told(plugin: PluginRecipe, table: dict[str, Any], path: Path) -> PluginRecipe:
    """The plugin with what a recipe that names it says of it: `[defaults.ewc]`, `[on.x.ewc]`,
    `[search.ewc]`.
    """
    said = _within(table, plugin.name, path)
    on = _on(plugin.on, said)
    defaults = plugin.defaults | said["defaults"]
    search = plugin.search | _axes_of(plugin.name, table.get("search", {}), defaults, path)
    return replace(plugin, defaults=defaults, on=on, search=search)


def _on(base: dict[str, Any], mine: dict[str, Any]) -> dict[str, Any]:
    """The settings on each benchmark of a recipe that another one names: what that one says, in
    `[defaults]` as well, goes before.
    """
    told = mine["defaults"].keys()
    return {
        name: {k: v for k, v in base.get(name, {}).items() if k not in told}
        | mine["on"].get(name, {})
        for name in base | mine["on"]
    }


def _without(table: dict[str, Any], parts: set[str]) -> dict[str, Any]:
    """The tables of settings without those of the parts with these names."""

    def rest(section: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in section.items() if key not in parts}

    on = {name: rest(section) for name, section in table.get("on", {}).items()}
    return {name: rest(table.get(name, {})) for name in ("defaults", "search")} | {"on": on}


def _within(table: dict[str, Any], part: str, path: Path) -> dict[str, Any]:
    """What the tables of settings say of one part: `[defaults.adam]`, `[on.x.adam]`,
    `[search.adam]`.
    """

    def of(section: dict[str, Any], name: str) -> dict[str, Any]:
        found = section.get(part, {})
        if not isinstance(found, dict):
            raise UserError(
                f"{path}: {name}.{part} = {found!r}: expected a table, as in [{name}.{part}]"
            )
        return found

    on = {name: of(section, f"on.{name}") for name, section in table.get("on", {}).items()}
    return {name: of(table.get(name, {}), name) for name in ("defaults", "search")} | {"on": on}
