"""The arguments of `cl-bnn`: what each command takes, and errors that are one line."""

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from cl_bnn import __version__
from cl_bnn._recipe_files import value_of
from cl_bnn._search_space import FIRST_SEED, TASKS_SEEN, TRIALS
from cl_bnn.errors import UserError, near, one_line

Command = Callable[[argparse.Namespace], None]

#: Between the items of a list; a comma in brackets belongs to an item.
COMMA = re.compile(r",(?![^\[]*\])")


def parse(argv: Sequence[str], commands: Mapping[str, Command]) -> argparse.Namespace:
    """The arguments of one call; its command is the attribute `command`, a function.

    Raises:
        UserError: any misuse, near names offered for an unknown command or option.
    """
    if argv and argv[0] not in commands and not argv[0].startswith("-"):
        raise UserError(f"unknown command {argv[0]!r}{near(argv[0], commands)}")
    parser, parsers = _parsers(commands)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        usage = parsers.get(argv[0], parser).format_usage()
        known = re.findall(r"--[\w-]+", usage)
        options = near(unknown[0], known) if known else f": cl-bnn {argv[0]} takes none"
        raise UserError(f"unknown argument {unknown[0]!r}{options}")
    if "command" not in arguments:
        raise UserError(f"a command is missing: one of {', '.join(commands)}; see cl-bnn --help")
    return arguments


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage in front."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def _parsers(commands: Mapping[str, Command]) -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of the whole command line, and those of the commands by name."""
    description = "Continual learning with binary neural networks."
    first = "begin with: cl-bnn list; cl-bnn run split_mnist --strategy bayesbinn"
    parser = _Parser(prog="cl-bnn", description=description, epilog=first, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"cl-bnn {__version__}")
    made = parser.add_subparsers(metavar="COMMAND")
    parsers = {}
    for name, command in commands.items():
        text = " ".join((command.__doc__ or "").split())
        parsers[name] = made.add_parser(name, help=text, description=text, allow_abbrev=False)
        parsers[name].set_defaults(command=command)
        FILL[name](parsers[name])
    return parser, parsers


def _fill_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("benchmark", metavar="BENCHMARK", help="a name from 'cl-bnn list', or a TOML file")
    strategy_help = "a name from 'cl-bnn list', or a TOML file; several with commas"
    _add_names(parser, "--strategy", "NAME", default=[], help=strategy_help)
    add("--scenario", help="task, domain or class: what is known at test time")
    add("--tasks", metavar="N", type=_count, help="short for --set stream.n_experiences=N")
    add("--epochs", metavar="N", type=_count, help="epochs per task")
    _fill_running(parser, eval_every="task")


def _fill_sweep(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    names = "names from 'cl-bnn list', or TOML files, with commas"
    _add_names(parser, "--strategies", "NAMES", required=True, help=names)
    _add_names(parser, "--benchmarks", "NAMES", required=True, help=names)
    scenarios_help = "task,domain,class or some of them, for benchmarks that have scenarios"
    _add_names(parser, "--scenarios", "NAMES", default=[], help=scenarios_help)
    add("--tasks", metavar="N", type=_count, help="short for --set stream.n_experiences=N")
    add("--epochs", metavar="N", type=_count, help="epochs per task")
    grid_help = "as --set, with several values; given more than once: all combinations"
    add("--grid", metavar="KEY=A,B", action="append", type=_values, default=[], help=grid_help)
    engine_help = "processes of this machine, or a Ray cluster (default: processes)"
    add("--engine", choices=("processes", "ray"), default="processes", help=engine_help)
    address_help = "address of the Ray cluster, 'auto' to find one (default: start one)"
    add("--address", metavar="ADDRESS", help=address_help)
    _fill_running(parser, eval_every="task")


def _fill_search(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("benchmark", metavar="BENCHMARK", help="a name from 'cl-bnn list', or a TOML file")
    strategy_help = (
        "a name from 'cl-bnn list', or a TOML file; its table [search] says what is searched"
    )
    add("--strategy", metavar="NAME", required=True, help=strategy_help)
    trials_help = f"how many in total, those already in --out included (default {TRIALS})"
    add("--trials", metavar="N", type=_count, default=TRIALS, help=trials_help)
    seen_help = f"how many first tasks the search uses, never the last one (default {TASKS_SEEN})"
    add("--tasks-seen", metavar="N", type=_count, default=TASKS_SEEN, help=seen_help)
    add("--scenario", help="task, domain or class: what is known at test time")
    tasks_help = "tasks of the whole stream, including those the search does not use"
    add("--tasks", metavar="N", type=_count, help=tasks_help)
    add("--epochs", metavar="N", type=_count, help="epochs per task")
    seeds_help = f"2: {FIRST_SEED} and {FIRST_SEED + 1}; 7,8: these (default {FIRST_SEED})"
    seeds = partial(_seeds, first=FIRST_SEED)
    add("--seeds", type=seeds, default=[FIRST_SEED], help=seeds_help)
    set_help = "fix a setting, as in 'cl-bnn run'; it is then not searched"
    add("--set", metavar="KEY=VALUE", action="append", type=_setting, default=[], help=set_help)
    stop_help = "end training after N epochs of a task; schedules still span all epochs"
    add("--stop-after", metavar="N", type=_count, help=stop_help)
    _fill_searching(parser)


def _fill_searching(parser: argparse.ArgumentParser) -> None:
    """How a search is carried out, and where what it finds goes."""
    add = parser.add_argument
    out_help = "directory of the trials (default: searches)"
    add("--out", metavar="DIR", type=_folder, default=Path("searches"), help=out_help)
    _fill_machine(parser)
    write_help = "put the chosen settings into this recipe; a copy is made if it is not there"
    add("--write", metavar="FILE.toml", type=_folder, help=write_help)
    place_help = "table of FILE.toml to write: [on.BENCHMARK] or [defaults] (default: on)"
    add("--table", choices=("on", "defaults"), default="on", help=place_help)


def _fill_train(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    config_help = "a configuration of prateekstark/training-binary-neural-network"
    add("config", metavar="CONFIG.json", type=Path, help=config_help)
    strategy_help = "the script that the configuration is for (default: inferred from its keys)"
    add("--strategy", choices=("bayesbinn", "ste"), help=strategy_help)
    wandb_help = "send what every epoch measures to Weights & Biases"
    add("--wandb", action="store_true", help=wandb_help)
    _fill_running(parser, eval_every="epoch")


def _fill_running(parser: argparse.ArgumentParser, eval_every: str) -> None:
    """What every command takes that carries out runs."""
    add = parser.add_argument
    seeds_help = "how many (5: seeds 0 to 4) or which (0,3,7); default: seed 0 alone"
    add("--seeds", type=_seeds, default=[0], help=seeds_help)
    set_help = (
        "a setting of the strategy, PLUGIN.KEY, stream.KEY or model.KEY, or batch_size, precision, "
        "channels_last"
    )
    add("--set", metavar="KEY=VALUE", action="append", type=_setting, default=[], help=set_help)
    stop_help = "end training after N epochs of a task; schedules still span all epochs"
    add("--stop-after", metavar="N", type=_count, help=stop_help)
    every_help = f"how often the test sets are measured (default: {eval_every})"
    add("--eval-every", choices=("task", "epoch"), default=eval_every, help=every_help)
    out_help = "directory of the results (default: runs)"
    add("--out", metavar="DIR", type=_folder, default=Path("runs"), help=out_help)
    _fill_machine(parser)
    add("--no-plot", action="store_true", help="draw no figures at the end")
    add("--dry-run", action="store_true", help="print the plan and the expected time, and stop")


def _fill_machine(parser: argparse.ArgumentParser) -> None:
    """On what, and from which data."""
    add = parser.add_argument
    add("--jobs", metavar="N", type=_count, default=1, help="runs side by side (default 1)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    _add_data_root(parser)


def _add_data_root(parser: argparse.ArgumentParser) -> None:
    root_help = "directory of the data sets (default: $CL_BNN_DATA, else the user's cache)"
    parser.add_argument("--data-root", metavar="DIR", type=Path, help=root_help)


def _fill_nothing(parser: argparse.ArgumentParser) -> None:
    """A command without arguments."""


def _fill_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path("results"),
        help="directory of results (default: results)",
    )  # fmt: skip


def _fill_report(parser: argparse.ArgumentParser) -> None:
    _fill_directory(parser)
    parser.add_argument(
        "--against", metavar="NAME", default="",
        help="the strategy that the others are compared with where it was run (else bayesbinn)",
    )  # fmt: skip


def _fill_compare(parser: argparse.ArgumentParser) -> None:
    _fill_directory(parser)
    add = parser.add_argument
    names_help = "the strategies to compare (variants too); default: all"
    _add_names(parser, "--strategies", "A,B", default=[], help=names_help)
    against_help = "the one that the others are compared with (default: the first of A,B)"
    add("--against", metavar="NAME", default="", help=against_help)
    add("--benchmark", metavar="NAME", default="", help="only this one, all variants of the name")
    measure_help = "BWT, forgetting_max_last, LA, nll, ece, ... (default: ACC)"
    add("--measure", metavar="NAME", default="ACC", help=measure_help)
    add("--csv", metavar="FILE", type=_folder, help="write the numbers in full into this file")


def _fill_plot(parser: argparse.ArgumentParser) -> None:
    _fill_directory(parser)
    add = parser.add_argument
    add("--benchmark", metavar="NAME", default="", help="only this one, all variants of the name")
    strategies_help = "only these (variants too); needs --out"
    _add_names(parser, "--strategies", "A,B", default=[], help=strategies_help)
    add("--out", metavar="DIR", type=_folder, help="where the figures go (default: DIR/figures)")


def _fill_verify(parser: argparse.ArgumentParser) -> None:
    _fill_directory(parser)
    add = parser.add_argument
    add("--benchmark", metavar="NAME", default="", help="only claims about this benchmark")
    add("--strategy", metavar="NAME", default="", help="only claims about this strategy")
    source_help = "only claims whose source has this in it: '2002.10778 Figure 5', 'Hsu'"
    add("--source", metavar="TEXT", default="", help=source_help)
    add("--run", action="store_true", help="run what is missing, into DIR")
    add("--dry-run", action="store_true", help="print what --run would run, and for how long")
    seeds_help = "seeds of the runs that --run makes (default: 5, that is 0 to 4)"
    add("--seeds", type=_seeds, default=[0, 1, 2, 3, 4], help=seeds_help)
    _fill_machine(parser)


def _fill_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("action", choices=("list", "fetch", "verify"), help="list, fetch, or check files")
    add("names", metavar="NAME", nargs="*", help="data sets; see 'cl-bnn data list'")
    _add_data_root(parser)


FILL = {
    "run": _fill_run,
    "sweep": _fill_sweep,
    "search": _fill_search,
    "list": _fill_nothing,
    "report": _fill_report,
    "compare": _fill_compare,
    "plot": _fill_plot,
    "data": _fill_data,
    "train": _fill_train,
    "verify": _fill_verify,
    "bench": _fill_nothing,
}


#: More seeds than anybody runs, and numbers with room above them for NumPy's generators.
MOST_SEEDS, LARGEST_SEED = 10_000, 2**31 - 1


def _seeds(text: str, first: int = 0) -> list[int]:
    """`5` is five seeds from `first` on; a comma makes it a list of seeds: `0,3,7`, or `3,` for
    one.
    """
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if "," not in text and numbers:
        numbers = list(range(first, first + numbers[0])) if numbers[0] <= MOST_SEEDS else []
    if not numbers or min(numbers) < 0 or max(numbers) > LARGEST_SEED:
        wanted = "a number of seeds, as 5, or the seeds themselves, as 0,3,7 (or 3, for one)"
        raise argparse.ArgumentTypeError(f"{text!r}: expected {wanted}")
    return list(dict.fromkeys(numbers))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 1")
    return int(text)


def _add_names(parser: argparse.ArgumentParser, option: str, metavar: str, **settings: Any) -> None:
    """An option that takes names with commas between them, and may be given more than once."""
    parser.add_argument(option, metavar=metavar, action="extend", type=_names, **settings)


def _names(text: str) -> list[str]:
    """Names with commas between them; those in brackets belong to a label, those of a file to its
    name.
    """
    if text.endswith(".toml") and os.path.isfile(text):
        return [text]
    return [name for name in COMMA.split(text) if name]


def _setting(text: str) -> tuple[str, object]:
    """`key=value`, the value read as TOML where it is TOML, else as text."""
    key, _, value = text.partition("=")
    if not (key and value):
        raise argparse.ArgumentTypeError(f"{text!r}: expected KEY=VALUE, as in lr=1e-3")
    return key, value_of(value)


def _folder(text: str) -> Path:
    """A path; `~` is the home, which shells leave as it is in `--out=~/runs`."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {one_line(error)}") from error


def _values(text: str) -> tuple[str, list[object]]:
    """`key=value,value`, each read as by `_setting`; commas in brackets belong to a value."""
    key, _, values = text.partition("=")
    parts = [part.strip() for part in COMMA.split(values)]
    if not key or not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r}: expected KEY=A,B, as in lr=1e-3,1e-2")
    return key, [value_of(part) for part in dict.fromkeys(parts)]
