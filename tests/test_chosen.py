"""What a search has found, in print and in recipes: comments kept, values as they were tried."""

import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cl_bnn import chosen, cli, recipes, search, trials
from cl_bnn._search_space import Value
from cl_bnn.errors import UserError
from cl_bnn.trials import Search, Trial

EXAMPLES = Path(__file__).parents[1] / "examples"
MINE = """# A recipe of the user's own.
title = "Mine"
build = "cl_bnn.strategies:BopStrategy"

[defaults]
threshold = 1e-8   # small
gamma = 1e-4

[on.split_mnist]
# Chosen by hand.
gamma = 1e-3  # a comment

[search]
threshold = {low = 1e-9, high = 1e-4, log = true}
gamma = {low = 1e-6, high = 1e-2, log = true}
"""
BOTH = """title = "Both"
optimizer = "bop"
plugins = ["ewc"]

[defaults.ewc]
labels = "true"   # of the data
"""


def searched(strategy: str, **overrides: object) -> Search:
    """A search as `trials.plan` makes it, without the data."""
    learner = recipes.load_strategy(strategy)
    space = {key: axis for key, axis in learner.space.items() if key not in overrides}
    own: dict[str, Value] = dict.fromkeys(space, 0.0)
    benchmark = recipes.load_benchmark("split_mnist")
    added: dict[str, Any] = {"stream.validation": 0.1}
    return Search(
        benchmark, learner, overrides, added, space, own, (1000,), 3, 5, Path("out"), {}
    )  # fmt: skip


def tried(number: int, value: float | None = None, **settings: Value) -> Trial:
    dotted = {key.replace("__", "."): v for key, v in settings.items()}
    if value is None:
        return Trial(number, dotted, {}, "the loss is nan")
    return Trial(number, dotted, {"1000": value})


BOP = tried(3, 0.9, threshold=2e-7, gamma=5e-4)
EWC = tried(3, 0.9, threshold=2e-7, gamma=5e-4, ewc__strength=3e3, ewc__labels="all")


def resolved(path: Path, benchmark: str = "split_mnist") -> recipes.Spec:
    learner = recipes.load_strategy(str(path))
    return recipes.resolve(recipes.load_benchmark(benchmark), learner, {})


# In print ----------------------------------------------------------------------------------------


def test_the_best_trial_is_the_first_of_the_best() -> None:
    made = [tried(0, 0.5), tried(1), tried(2, 0.7), tried(3, 0.7)]
    assert chosen.best(made).number == 2
    with pytest.raises(UserError, match="all 2 trials failed, the first: the loss is nan"):
        chosen.best([tried(0), tried(1)])


def test_the_table_has_the_best_first_and_failures_last() -> None:
    made = [
        tried(0, 0.5, threshold=1e-8, gamma=1e-4), tried(1, None, threshold=1e-5, gamma=1e-2),
        tried(2, 0.71239, threshold=1e-6, gamma=1e-3),
    ]  # fmt: skip
    table = chosen.table(searched("bop"), made)
    assert "first 3 of 5 tasks" in table.title and "held-out training images" in table.title
    assert table.head == ["trial", "seed 1000", "mean", "threshold", "gamma"]
    assert table.rows == [
        ["2", "71.24", "71.24", "1e-06", "0.001"],
        ["0", "50.00", "50.00", "1e-08", "0.0001"],
        ["1", "–", "–", "1e-05", "0.01"],
    ]
    assert table.note == "Trial 1 failed: the loss is nan"
    assert not chosen.table(searched("bop"), made[:1]).note


def test_the_lines_for_a_recipe() -> None:
    found = chosen.lines(searched("bop"), BOP, "cl-bnn search ...")
    assert found == [
        "# Found by cl-bnn search ...", "[on.split_mnist]", "threshold = 2e-07", "gamma = 0.0005",
    ]  # fmt: skip
    (line,) = chosen.lines(searched("bop"), BOP, "x", "defaults")[1:2]
    assert line == "[defaults]"


def test_the_lines_of_plugins_are_a_recipe_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "pasted.toml"
    path.write_text("\n".join(chosen.lines(searched("bop+ewc"), EWC, "cl-bnn search ...")))
    spec = resolved(path)
    assert spec.build == "cl_bnn.strategies:BopStrategy"
    assert (spec.settings["threshold"], spec.settings["gamma"]) == (2e-7, 5e-4)
    assert spec.plugins["ewc"]["strength"] == 3e3
    alone = tried(0, 0.9, lr=1e-2, schedule="cosine", ewc__strength=3.0, ewc__labels="true")
    lines = chosen.lines(searched("ewc"), alone, "x")
    assert lines[1:3] == ['optimizer = "adam"', 'plugins = ["ewc"]']
    assert [line for line in lines if line.startswith("[")] == [
        "[on.split_mnist]", "[on.split_mnist.ewc]",
    ]  # fmt: skip


def test_a_plugin_beside_a_plugins_recipe_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "both.toml"
    both, found = searched("ewc+er"), tried(0, 0.9, lr=1e-2, ewc__strength=3.0, ewc__labels="true")
    chosen.write(path, both, found, "x")
    assert resolved(path).plugins == both.spec(found.settings).plugins
    assert list(resolved(path).plugins) == ["ewc", "er"]


def combined(folder: Path) -> tuple[Path, Path]:
    """Recipes of one's own: another STE, and a plugin that tells the optimiser it has alone."""
    wide, hold = folder / "wide.toml", folder / "hold.toml"
    wide.write_text(
        'title = "Wide"\noptimizer = "ste"\nplugins = []\n[defaults]\nclamp = 0.5\n'
        "[search]\nclamp = {low = 0.1, high = 1.0}\n"
    )
    hold.write_text(
        'title = "Hold"\noptimizer = "adam"\nplugin = "cl_bnn.strategies:EWC"\n'
        "[defaults]\nstrength = 1.0\n[defaults.adam]\nweight_clip = 0.5\n"
        "[search.hold]\nstrength = {low = 0.1, high = 1.0}\n"
    )
    return wide, hold


@pytest.mark.parametrize("place", ["on", "defaults"])
def test_a_combination_of_ones_own_is_found_again(tmp_path: Path, place: Any) -> None:
    wide, hold = combined(tmp_path)
    both, alone = searched(f"{wide}+{hold}"), searched(str(hold))
    assert f"--strategy {wide}+{hold} " in chosen.command(both, 8)
    told = tried(0, 0.9, clamp=0.25, hold__strength=0.5)
    spec = both.spec(told.settings)
    for path in (tmp_path / "pasted.toml", tmp_path / "written.toml"):
        if path.stem == "pasted":
            path.write_text("\n".join(chosen.lines(both, told, "x", place)))
        else:
            chosen.write(path, both, told, "x", place)
        assert resolved(path).settings == spec.settings and spec.settings["clamp"] == 0.25
        assert resolved(path).plugins == spec.plugins
    found = tried(0, 0.9, hold__strength=0.5)
    chosen.write(path := tmp_path / "alone.toml", alone, found, "x", place)
    assert resolved(path).settings["weight_clip"] == 0.5
    (pasted := tmp_path / "again.toml").write_text(
        "\n".join(chosen.lines(alone, found, "x", place))
    )
    assert resolved(pasted).settings == resolved(path).settings


def test_a_plugin_with_a_dot_in_its_name_is_refused(tmp_path: Path) -> None:
    _, hold = combined(tmp_path)
    dotted = hold.rename(tmp_path / "hold.v2.toml")
    with pytest.raises(UserError, match="name and a dot before them: call it hold_v2.toml"):
        recipes.load_strategy(f"ste+{dotted}")


@pytest.mark.parametrize(
    ("strategy", "overrides", "options"),
    [
        ("bop", {}, ""),
        ("bop+ewc", {"ewc.labels": "true"}, " --set 'ewc.labels=\"true\"'"),
        (
            "bop",
            {"epochs": 2, "stream.scenario": "class"},
            " --set epochs=2 --set stream.scenario=c",
        ),
    ],
)
def test_the_command_makes_the_same_search(
    strategy: str, overrides: dict[str, object], options: str
) -> None:
    found = chosen.command(searched(strategy, **overrides), 20)
    assert found.startswith(f"cl-bnn search split_mnist --strategy {strategy} --trials 20{options}")
    arguments = cli.parse(shlex.split(found)[1:], cli.COMMANDS)
    assert cli._overrides(arguments) == overrides and arguments.seeds == [1000]


# In recipes --------------------------------------------------------------------------------------


def test_a_recipe_keeps_its_comments_and_layout(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    chosen.write(path, searched(str(path)), BOP, "cl-bnn search ...")
    expected = MINE.replace("gamma = 1e-3 ", "gamma = 0.0005 ").replace(
        "# Chosen by hand.", "# Found by cl-bnn search ...\n# Chosen by hand."
    )
    written = path.read_text()
    assert [line for line in written.splitlines() if line.strip()] == [
        line
        for line in expected.replace("a comment", "a comment\nthreshold = 2e-07").splitlines()
        if line.strip()
    ]
    chosen.write(path, searched(str(path)), BOP, "another")
    again = path.read_text()
    assert "cl-bnn search ..." not in again and "# Found by another\n# Chosen by hand." in again


def test_a_new_benchmark_gets_a_table_and_defaults_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace("split_mnist", "permuted_mnist"))
    chosen.write(path, searched(str(path)), BOP, "x")
    assert "[on.split_mnist]\n# Found by x\nthreshold = 2e-07\n" in path.read_text()
    assert resolved(path, "permuted_mnist").settings["gamma"] == 1e-3
    path.write_text(MINE.replace("[on.split_mnist]", "[on.permuted_mnist]"))
    chosen.write(path, searched(str(path)), BOP, "x", "defaults")
    text = path.read_text()
    assert "[defaults]\n# Found by x\nthreshold = 2e-07   # small\ngamma = 0.0005\n" in text
    assert "[on.split_mnist]" not in text


def test_without_a_file_the_recipe_is_copied(tmp_path: Path) -> None:
    path, shipped = tmp_path / "tuned.toml", recipes.load_strategy("bop").path
    before = shipped.read_text()
    chosen.write(path, searched("bop"), BOP, "x")
    assert shipped.read_text() == before
    assert resolved(path).settings == recipes.load_strategy("bop").defaults | BOP.settings
    kept = {line for line in before.splitlines() if line.startswith("#")}
    old = {line for line in kept if line.startswith("# Found by cl-bnn search split_mnist")}
    written = path.read_text().splitlines()
    # What an older search of this benchmark had found goes away, with what is said of it.
    assert old and not old & set(written) and len(kept - set(written)) == 2
    assert sum(line.startswith("# Found by") for line in written) == len(
        [line for line in kept if line.startswith("# Found by")]
    )


@pytest.mark.parametrize("place", ["on", "defaults"])
def test_plugins_get_tables_of_their_own(tmp_path: Path, place: Any) -> None:
    both = tmp_path / "both.toml"
    both.write_text(BOTH)
    chosen.write(both, searched(str(both)), EWC, "x", "on")
    assert 'labels = "true"   # of the data' in both.read_text()
    composed = tmp_path / "composed.toml"
    chosen.write(composed, searched("bop+ewc"), EWC, "x", place)
    assert resolved(composed).plugins == resolved(both).plugins
    assert resolved(composed).settings == resolved(both).settings
    table = tomllib.loads(composed.read_text())
    said = table["on"]["split_mnist"] if place == "on" else table["defaults"]
    assert said["ewc"] == {"strength": 3e3, "labels": "all"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 3", "title = 3: expected text"),
        ("title = ", "broken TOML"),
        (MINE.replace("BopStrategy", "STEStrategy"), "its build on split_mnist would not be"),
        (MINE.replace("gamma = 1e-4", "gamma = 1e-4\nsteps_every = 3"), "its settings on split_mn"),
        (BOTH, "its plugins on split_mnist would not be those of bop"),
    ],
)
def test_another_recipe_is_left_as_it_is(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "other.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        chosen.write(path, searched("bop"), BOP, "x")
    assert path.read_text() == text


def test_the_command_writes_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_all(planned: Search, n_trials: int, **rest: Any) -> list[Trial]:
        return [Trial(0, planned.own, {"1000": 0.5}), BOP][:n_trials]

    monkeypatch.setattr(search, "run_all", run_all)
    monkeypatch.setattr(trials, "_tasks", lambda *given: (3, 5))
    path = tmp_path / "tuned.toml"
    words = ["search", "split_mnist", "--strategy", "bop", "--trials", "2", "--write", str(path)]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    origin = "# Found by cl-bnn search split_mnist --strategy bop --trials 2"
    assert f"{origin}\n[on.split_mnist]\nthreshold = 2e-07\ngamma = 0.0005\n" in printed
    assert printed.endswith(f"{path}\n")
    assert resolved(path).settings["gamma"] == 5e-4
    assert f"[on.split_mnist]\n{origin}\n" in path.read_text()


def test_a_file_that_does_not_suit_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "run_all", None)
    monkeypatch.setattr(trials, "_tasks", lambda *given: (3, 5))
    path = tmp_path / "other.toml"
    path.write_text(BOTH)
    words = ["search", "split_mnist", "--strategy", "bop", "--write", str(path)]
    assert cli.main(words) == 2
    assert "would not be those of bop" in capsys.readouterr().err


def test_a_recipe_may_name_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_bytes(MINE.encode())
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\noptimizer = "base.toml"\nplugins = ["ewc"]\n')
    chosen.write(path, searched(str(path)), tried(0, 0.5, gamma=0.5), "x")
    assert resolved(path).settings["gamma"] == 0.5


def test_a_recipe_stays_beside_the_module_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trials, "_tasks", lambda *given: (3, 5))
    found = [tried(0, 0.5, lr=1e-2, strength=1e-4)]
    monkeypatch.setattr(search, "run_all", lambda *given, **rest: found)
    held = tmp_path / "held"
    held.mkdir()
    for name in ("held.toml", "held.py"):
        (held / name).write_bytes((EXAMPLES / name).read_bytes())
    words = ["search", "split_mnist", "--strategy", str(held / "held.toml"), "--write"]
    assert cli.main([*words, str(tmp_path / "away.toml")]) == 2
    assert f"would not find {held / 'held.py'}: choose a file in" in capsys.readouterr().err
    assert cli.main([*words, str(held / "near.toml")]) == 0
    assert resolved(held / "near.toml").own_files() == [held / "held.py"]
