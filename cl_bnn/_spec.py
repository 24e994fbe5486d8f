"""What a recipe becomes: a strategy on a benchmark with every setting resolved."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cl_bnn._builders import own_file

# How a run is computed: strategies take these beside their own settings.
ARITHMETIC = ("precision", "channels_last")


@dataclass(frozen=True)
class Spec:
    """A strategy on a benchmark with every setting resolved; the seed alone is missing.

    `benchmark` and `strategy` are labels: the recipe's name and, in brackets, what differs from it.
    `plugins` are those beside the strategy, by name: the class under `"build"`, and its settings.
    Training ends after `stop_after` epochs, if given, of schedules that span all `epochs`.
    `precision` and `channels_last` are those of `cl_bnn.strategies.Template`.
    `folders` are where modules of the user's own are looked for; they are no part of `as_dict`,
    because the same run on another machine has the same description.
    """

    benchmark: str
    strategy: str
    epochs: int
    batch_size: int
    stream: dict[str, Any]
    model: dict[str, Any]
    build: str
    settings: dict[str, Any]
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)
    stop_after: int | None = None
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    channels_last: bool = False
    folders: tuple[str, ...] = ()

    @property
    def data(self) -> list[str]:
        """The data sets that the stream names."""
        named = self.stream.get("data", [])
        return [str(name) for name in (named if isinstance(named, list) else [named])]

    def own_files(self) -> list[Path]:
        """The Python files of the user's own that hold the builders, those of parts and plugins
        too; not what these import.
        """
        parts = [value for value in self.settings.values() if isinstance(value, dict)]
        tables = [self.stream, self.model, *parts, *self.plugins.values()]
        targets = [self.build, *(table["build"] for table in tables if "build" in table)]
        found = (own_file(target, self.folders) for target in targets)
        return [path for path in dict.fromkeys(found) if path is not None]

    def as_dict(self) -> dict[str, Any]:
        """All that determines the run but its seed, ready for JSON."""
        fields = {key: value for key, value in vars(self).items() if key != "folders"}
        for key in ("stop_after", *ARITHMETIC):
            if fields[key] == getattr(Spec, key):
                del fields[key]
        if not self.plugins:
            del fields["plugins"]
        return {key: dict(v) if isinstance(v, dict) else v for key, v in fields.items()}
