"""The command line `cl-bnn`. A command is one function; what is slow to import, it imports."""

import argparse
import errno
import io
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cl_bnn.arguments import parse
from cl_bnn.errors import UserError, one_line, out_of_memory
from cl_bnn.quiet import drop_output, quieten

if TYPE_CHECKING:
    from cl_bnn._strategy_recipes import StrategyRecipe
    from cl_bnn.events import Event
    from cl_bnn.run import Run

#: Exit codes: a mistake of the user; stopped (128 + the number of SIGINT).
MISUSE, INTERRUPTED = 2, 130
#: A full disk, and a full quota.
NO_ROOM = errno.ENOSPC, errno.EDQUOT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for a mistake of the user, 130 if it was
    stopped with Ctrl-C or SIGTERM.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that lacks a letter shows its code
        sys.stdout.reconfigure(errors="backslashreplace")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv, COMMANDS)
        arguments.command(arguments)
        print(end="", flush=True)
    except UserError as error:
        print(f"cl-bnn: error: {error}", file=sys.stderr)
        return MISUSE
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        advice = "take a smaller network or batch_size, or fewer --jobs"
        print(f"cl-bnn: error: not enough memory: {advice} ({one_line(error)})", file=sys.stderr)
        return MISUSE
    except KeyboardInterrupt:
        message = "interrupted: the same command continues from the epoch saved last, if one was"
        print(f"\ncl-bnn: {message}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        drop_output()
    except OSError as error:
        _tell(error)
        return MISUSE
    return 0


def _tell(error: OSError) -> None:
    """A line about a file that the system refuses, or about a lack of room; another error is
    raised.
    """
    place = error.filename
    if place is None:
        if error.errno not in NO_ROOM:
            raise error
        try:
            print(end="", flush=True)
            place = "a temporary file or shared memory"
        except OSError:
            drop_output()
            place = "output"
    print(f"cl-bnn: error: {place}: {error.strerror}", file=sys.stderr)


def _run(arguments: argparse.Namespace) -> None:
    """Train strategies on a benchmark, one task after the other."""
    if not arguments.strategy:
        raise UserError("--strategy NAME is missing; 'cl-bnn list' shows the names")
    from cl_bnn import runner

    quieten()
    runs = runner.plan(
        arguments.benchmark,
        arguments.strategy,
        arguments.seeds,
        _overrides(arguments),
        arguments.eval_every,
        arguments.out,
    )
    _carry_out(runs, arguments)


def _train(arguments: argparse.Namespace) -> None:
    """Run a JSON configuration of the BayesBiNN reproduction study."""
    from cl_bnn.reproduction import keys, wandb_log

    config = keys.read(arguments.config, arguments.strategy)
    wandb = wandb_log.find() if arguments.wandb else None
    quieten()
    from cl_bnn import distributed
    from cl_bnn.reproduction.runs import translate

    translation = translate(config)
    runs = translation.plan(
        arguments.seeds,
        dict(arguments.set),
        arguments.stop_after,
        arguments.eval_every,
        arguments.out,
    )
    if distributed.is_first():
        print("\n".join(translation.lines()), flush=True)
    live = [] if wandb is None else [wandb_log.Live(wandb, config.values, runs)]
    _carry_out(runs, arguments, *live)


def _sweep(arguments: argparse.Namespace) -> None:
    """Train every strategy on every benchmark; a run that fails does not stop the others."""
    from cl_bnn import sweep

    quieten()
    runs = sweep.plan(
        arguments.benchmarks,
        arguments.strategies,
        arguments.scenarios,
        arguments.seeds,
        _overrides(arguments),
        arguments.eval_every,
        arguments.out,
        arguments.grid,
    )
    carry_out = partial(sweep.run_all, engine=arguments.engine, address=arguments.address)
    _carry_out(runs, arguments, carry_out=carry_out)


def _search(arguments: argparse.Namespace) -> None:
    """Choose a strategy's settings on training images held out of the first tasks of a stream."""
    from rich.console import Console

    from cl_bnn import chosen, search, trials
    from cl_bnn.outcome import print_table
    from cl_bnn.progress import progress

    quieten()
    search.load()
    plan = trials.plan(
        arguments.benchmark, arguments.strategy, _overrides(arguments), arguments.seeds,
        arguments.tasks_seen, arguments.out, arguments.data_root,
    )  # fmt: skip
    origin, place = chosen.command(plan, arguments.trials), arguments.table
    if arguments.write is not None:  # judged before it takes hours
        chosen.text(arguments.write, plan, trials.Trial(0, plan.own, {}), origin, place)
    with progress(arguments.trials * len(plan.seeds)) as tell:
        found = search.run_all(
            plan, arguments.trials, jobs=arguments.jobs, device=arguments.device,
            data_root=arguments.data_root, on_event=tell,
        )  # fmt: skip
    print_table(chosen.table(plan, found), Console())
    best = chosen.best(found)
    print("\n".join(chosen.lines(plan, best, origin, place)))
    if arguments.write is not None:
        chosen.write(arguments.write, plan, best, origin, place)
        print(arguments.write)


def _carry_out(
    runs: Sequence["Run"],
    arguments: argparse.Namespace,
    *listeners: "Callable[[Event], None]",
    carry_out: "Callable[..., None] | None" = None,
) -> None:
    """Run what is planned, or print the plan.

    The listeners hear every event as well; `carry_out` does what `runner.run_all` does.
    """
    if arguments.dry_run:
        from cl_bnn.planning import show

        show(runs, arguments.jobs, arguments.device, arguments.data_root)
        return
    from rich.console import Console

    from cl_bnn import distributed, outcome, runner
    from cl_bnn.events import Failures
    from cl_bnn.progress import progress

    # Of the processes that torchrun starts, the first one speaks; another only if it has to.
    first = distributed.is_first()
    with progress(len(runs), None if first else Console(force_terminal=False)) as tell:
        failures = Failures(tell, *listeners)
        (carry_out or runner.run_all)(
            runs,
            jobs=arguments.jobs,
            device=arguments.device,
            data_root=arguments.data_root,
            on_event=failures,
        )
    if first:
        # Where a run failed, an older file may lie in its place.
        failed = {event.run for event in failures.found}
        there = [run for run in runs if run.name not in failed]
        outcome.sum_up(there, arguments.out, drawn=not arguments.no_plot)
    failures.tell(len(runs))


def _list(arguments: argparse.Namespace) -> None:
    """List all benchmarks and strategies, the strategies with their papers."""
    from cl_bnn import recipes

    titles: dict[recipes.Kind, dict[str, str]] = {
        "benchmarks": {n: recipes.load_benchmark(n).title for n in recipes.names("benchmarks")},
        "strategies": {n: _titled(recipes.load_strategy(n)) for n in recipes.names("strategies")},
    }
    width = max(len(name) for found in titles.values() for name in found)
    for kind, found in titles.items():
        print(f"{kind}:")
        for name, title in found.items():
            print(f"  {name:{width}}  {title}")


def _titled(recipe: "StrategyRecipe") -> str:
    return f"{recipe.title} [{recipe.paper}]" if recipe.paper else recipe.title


def _report(arguments: argparse.Namespace) -> None:
    """Write DIR/README.md and DIR/tables/ from all results in DIR (default: results)."""
    from cl_bnn.report import write_readme

    print(write_readme(arguments.directory, arguments.against))


def _compare(arguments: argparse.Namespace) -> None:
    """Test the differences between strategies in DIR (default: results), seed by seed."""
    from cl_bnn import outcome
    from cl_bnn.atomic import atomic_write
    from cl_bnn.progress import Terminal
    from cl_bnn.report import differences

    found = differences.of_directory(
        arguments.directory, arguments.benchmark, arguments.strategies, arguments.against,
        arguments.measure,
    )  # fmt: skip
    for table, _ in found:
        outcome.print_table(table, Terminal())
    if arguments.csv is not None:
        atomic_write(arguments.csv, differences.csv_text(found).encode())
        print(arguments.csv)


def _verify(arguments: argparse.Namespace) -> None:
    """Compare published numbers with the results in DIR, and print the command for each."""
    from cl_bnn import verify
    from cl_bnn.progress import progress

    quieten()
    wanted = verify.Wanted(arguments.benchmark, arguments.strategy, arguments.source)
    if arguments.dry_run:
        from cl_bnn.planning import show

        found = verify.of_directory(arguments.directory, wanted)
        if runs := verify.plan(found, arguments.seeds, arguments.directory):
            show(runs, arguments.jobs, arguments.device, arguments.data_root)
        else:
            print(f"{len(found)} published numbers, and nothing to be run for them")
        return
    with progress(0) as tell:
        lines = verify.carry_out(
            arguments.directory, wanted, arguments.run, arguments.seeds, jobs=arguments.jobs,
            device=arguments.device, data_root=arguments.data_root, on_event=tell,
        )  # fmt: skip
        for line in lines:
            print(line)


def _plot(arguments: argparse.Namespace) -> None:
    """Draw the figures of the results in DIR (default: results) into DIR/figures."""
    from cl_bnn import outcome, results

    directory = arguments.directory
    if arguments.strategies and not arguments.out:
        raise UserError(
            "--strategies draws figures of some: say with --out where they go, for DIR/figures "
            "holds those of all"
        )
    frame = results.read(directory)
    frame = results.some(frame, arguments.benchmark, arguments.strategies, directory)
    outcome.draw(frame, directory, arguments.out)


def _data(arguments: argparse.Namespace) -> None:
    """List, fetch or verify data sets."""
    from cl_bnn import features
    from cl_bnn.data import command

    names, root = arguments.names, arguments.data_root
    if arguments.action == "list":
        if names:
            raise UserError(f"data list takes no names, and got {', '.join(names)}")
        lines: Iterable[str] = command.list_lines(root)
    elif arguments.action == "verify":
        lines = command.verify(names, root)
    elif names:
        lines = (features.fetch(name, root) for name in names)
    else:
        raise UserError(f"data fetch: which data set? known: {', '.join(command.names())}")
    for line in lines:
        print(line, flush=True)


def _bench(arguments: argparse.Namespace) -> None:
    """Measure the speed beside a bare PyTorch loop and stock Avalanche."""
    from cl_bnn import bench

    bench.main()


COMMANDS = {
    "run": _run,
    "sweep": _sweep,
    "list": _list,
    "search": _search,
    "report": _report,
    "compare": _compare,
    "plot": _plot,
    "data": _data,
    "train": _train,
    "verify": _verify,
    "bench": _bench,
}


def _overrides(arguments: argparse.Namespace) -> dict[str, object]:
    """What `--set` and its short forms change; a short form wins."""
    short = {
        "stream.scenario": getattr(arguments, "scenario", None),
        "stream.n_experiences": arguments.tasks,
        "epochs": arguments.epochs,
        "stop_after": arguments.stop_after,
    }
    given = {key: value for key, value in short.items() if value is not None}
    return dict(arguments.set) | given
