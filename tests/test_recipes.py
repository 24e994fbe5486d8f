import json
import pickle
import sys
import typing
from pathlib import Path
from typing import Any, Literal

import pytest

from cl_bnn import _recipe_files, recipes
from cl_bnn._annotations import describe, fits
from cl_bnn._strategy_recipes import load_plugin
from cl_bnn.errors import UserError

EXAMPLES = Path(__file__).parents[1] / "examples"
STRATEGY = """
title = "Mine"
build = "my_method:Learner"
[defaults]
lr = 0.1
steps = 3
[on.toy]
steps = 5
"""
BENCHMARK = """
title = "Toy"
epochs = 2
batch_size = 10
[stream]
build = "my_method:stream"
n_experiences = 5
[model]
build = "my_method:network"
width = 8
"""
MODULE = """
from typing import Literal

class Learner:
    def __init__(self, *, model, lr: float = 0.1, steps: int = 1, clip: float | None = None,
                 mode: Literal["fast", "slow"] = "fast", verbose: bool = False, **kwargs):
        if lr <= 0:
            raise ValueError(f"lr must be positive, got {lr}")
        self.lr, self.kwargs = lr, kwargs

def stream(*, data_root, seed, n_experiences: int = 5): ...
def network(*, in_features, out_features, n_tasks, n_heads, width: int): ...
not_callable = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a strategy, a benchmark and a module of their own."""
    (tmp_path / "mine.toml").write_text(STRATEGY)
    (tmp_path / "toy.toml").write_text(BENCHMARK)
    (tmp_path / "my_method.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, "my_method", raising=False)
    return tmp_path


def spec_of(folder: Path, **overrides: Any) -> recipes.Spec:
    return recipes.resolve(
        recipes.load_benchmark(str(folder / "toy.toml")),
        recipes.load_strategy(str(folder / "mine.toml")),
        {key.replace("__", "."): value for key, value in overrides.items()},
    )


def test_what_a_class_of_ones_own_hands_on_are_settings_as_well(folder: Path) -> None:
    (folder / "my_method.py").write_text(
        MODULE + "from cl_bnn.strategies import STEStrategy\n"
        "class Held(STEStrategy):\n"
        "    def __init__(self, *, strength: float = 1.0, **more):\n"
        "        super().__init__(**more)\n"
        "class Slow(Held):\n"
        "    def __init__(self, *, lr: float = 0.5, **more):\n"
        "        super().__init__(lr=lr, **more)\n"
    )
    (folder / "mine.toml").write_text('title = "Slow"\nbuild = "my_method:Slow"\n')
    recipes.check(spec_of(folder, strength=2.0, lr=0.1, backward="hard_tanh", clamp=3.0))
    for key, value, message in (
        ("clmp", 1.0, "clmp: no setting of my_method:Slow; did you mean 'clamp'"),
        ("backward", "soft", "backward = 'soft': expected one of 'identity', 'hard_tanh'"),
        ("criterion", 1.0, "criterion: no setting of"),  # Avalanche's, which the runner gives
    ):
        with pytest.raises(UserError, match=message):
            recipes.check(spec_of(folder, **{key: value}))


def test_what_the_runner_gives_is_no_setting(folder: Path) -> None:
    (folder / "my_method.py").write_text(
        MODULE + "from cl_bnn.strategies import STEStrategy\n"
        "class Slow(STEStrategy):\n"
        "    def __init__(self, *, model, train_mb_size, train_epochs=1, device='cpu', **more):\n"
        "        super().__init__(model=model, device=device, **more)\n"
    )
    (folder / "mine.toml").write_text('title = "Slow"\nbuild = "my_method:Slow"\n')
    recipes.check(spec_of(folder))  # nothing is missing
    with pytest.raises(UserError, match="train_epochs: no setting of my_method:Slow"):
        recipes.check(spec_of(folder, train_epochs=5))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('build = "m:Mine"\nplugins = ["ewc"]', "build, plugins together: expected build, or"),
        ('optimizer = "ste"\nplugin = "m:P"\nplugins = ["ewc"]', "optimizer, plugin, plugins to"),
        ('optimizer = "ste"\nplugins = ["ewc"]\npart = "x"', "part: only a recipe with build has"),
        ('build = "m:Mine"\npart = "strategy"', "part = 'strategy' names another part of a run"),
        ('optimizer = "ste+ewc"\nplugins = ["ewc"]', "the plugin 'ewc' stands there twice"),
        ('paper = "none"', "the key 'build' is missing"),
    ],
)
def test_a_recipe_is_of_one_form(folder: Path, lines: str, message: str) -> None:
    (folder / "mine.toml").write_text(f'title = "Mine"\n{lines}\n')
    with pytest.raises(UserError, match=message):
        recipes.load_strategy(str(folder / "mine.toml"))


def test_what_a_recipe_names_lies_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "base.toml").write_text('title = "Base"\nbuild = "m:Mine"\n')
    (inner / "hold.toml").write_text('title = "H"\noptimizer = "ste"\nplugin = "m:Hold"\n')
    lines = 'title = "Both"\noptimizer = "./base.toml"\nplugins = ["./hold.toml"]\n'
    (inner / "both.toml").write_text(lines)
    monkeypatch.chdir(folder)
    found = recipes.load_strategy("inner/both.toml")
    assert found.build == "m:Mine" and [p.name for p in found.plugins] == ["hold"]
    (inner / "base.toml").write_text(lines.replace("base", "both"))
    with pytest.raises(UserError, match=r"(base|both)\.toml: it is its own optimizer"):
        recipes.load_strategy("inner/both.toml")


@pytest.mark.parametrize("name", ["split_mnst", '"split_mnist[scenario=class]"'])
def test_a_section_on_a_misspelt_benchmark_is_refused(folder: Path, name: str) -> None:
    (folder / "mine.toml").write_text(STRATEGY + f"\n[on.{name}]\nrate = 0.5\n")
    with pytest.raises(UserError, match=r"no name of a benchmark; did you mean 'split_mnist'\?"):
        spec_of(folder)
    (folder / "mine.toml").write_text(STRATEGY + "\n[on.splt_mnist]\nrate = 0.5\n")
    with pytest.raises(UserError, match="on.splt_mnist: no name of a benchmark"):
        spec_of(folder)
    for place in (folder, folder.parent / "benchmarks"):  # one of the user's own
        place.mkdir(exist_ok=True)
        (place / "splt_mnist.toml").touch()
        spec_of(folder)
        (place / "splt_mnist.toml").unlink()
    (folder / "mine.toml").write_text(STRATEGY + "\n[on.split_mnist2]\nrate = 0.5\n")
    spec_of(folder)  # a variant, which `cl-bnn search` was shown in another folder


@pytest.mark.parametrize("name", ['"toy.toml"', '"./toy.toml"', "Toy"])
def test_a_section_on_ones_own_benchmark_is_called_as_that(folder: Path, name: str) -> None:
    (folder / "mine.toml").write_text(STRATEGY + f"\n[on.{name}]\nrate = 0.5\n")
    with pytest.raises(UserError, match=r"no name of a benchmark; did you mean 'toy'\?"):
        spec_of(folder)
    (folder / "mine.toml").write_text(STRATEGY + "\n[on.toys]\nrate = 0.5\n")
    spec_of(folder)  # another of the user's own, from elsewhere


@pytest.mark.parametrize(
    ("load", "kind", "name"),
    [
        (recipes.load_benchmark, "benchmarks", "split_mnist"),
        (recipes.load_strategy, "strategies", "ste"),
    ],
)
def test_another_recipe_of_a_shipped_name_is_refused(
    tmp_path: Path, load: Any, kind: str, name: str
) -> None:
    """Its runs would pass for those of the shipped one, in pages and beside published numbers."""
    path, shipped = tmp_path / f"{name}.toml", EXAMPLES.parent / kind / f"{name}.toml"
    path.write_bytes(shipped.read_bytes())
    assert load(str(path)).name == name
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(UserError, match=rf"{name}\.toml: '{name}' is the name of a recipe that "):
        load(str(path))
    with pytest.raises(UserError, match=r"a bracket in the name of a run begins what was changed"):
        load(str(path.rename(tmp_path / f"{name}[mine].toml")))
    path.write_text(shipped.read_text())
    if load is recipes.load_strategy:  # as an optimiser it gives a run no name
        (tmp_path / "mine.toml").write_text(
            'title = "M"\noptimizer = "./ste.toml"\nplugins = ["ewc"]\n'
        )
        assert load(str(tmp_path / "mine.toml")).name == "mine"


@pytest.mark.parametrize("name", ["model", "stream", "strategy"])
def test_a_plugin_is_not_called_as_another_part_of_a_run(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.toml"
    path.write_text('title = "H"\noptimizer = "ste"\nplugin = "m:Hold"\n[defaults]\nwidth = 3\n')
    with pytest.raises(UserError, match=f"'{name}' names another part of a run: call it otherwise"):
        recipes.load_strategy(f"ste+{path}")


def test_a_builder_without_a_signature_is_one_line(folder: Path) -> None:
    (folder / "mine.toml").write_text('title = "Dict"\nbuild = "builtins:dict"\n')
    with pytest.raises(UserError, match="no signature found for .*a function of yours around it"):
        recipes.check(spec_of(folder))


def test_a_member_is_looked_for_beside_the_recipe_that_names_it(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    head = 'title = "Mine"\nbuild = "cl_bnn.strategies:'
    (inner / "one.toml").write_text(f'{head}AdamStrategy"\n[defaults]\nlr = 0.5\n')
    text = recipes.load_strategy("benn").path.read_text()
    (inner / "several.toml").write_text(text.replace('member = "ste"', 'member = "./one.toml"'))
    on = recipes.load_benchmark("split_mnist")
    spec = recipes.resolve(on, recipes.load_strategy(str(inner / "several.toml")), {})
    assert spec.settings["member"]["lr"] == 0.5
    with pytest.raises(UserError, match=r"one\.toml: cannot read the recipe"):
        several = recipes.load_strategy(str(inner / "several.toml"))
        recipes.resolve(on, several, {"member": "./one.toml"})


def test_a_member_of_an_ensemble_has_no_plugins() -> None:
    on, benn = recipes.load_benchmark("mnist_small"), recipes.load_strategy("benn")
    with pytest.raises(UserError, match=r"member = 'ste\+ewc' has plugins, which no part of benn"):
        recipes.resolve(on, benn, {"member": "ste+ewc"})


def test_names_are_the_files_of_the_top_level_folders() -> None:
    root = Path(__file__).parents[1]
    for kind in ("strategies", "benchmarks"):
        files = sorted(path.stem for path in (root / kind).glob("*.toml"))
        assert recipes.names(kind) == files  # type: ignore[arg-type]
    assert {"bayesbinn", "bayesbinn_fixed_prior", "ste", "adam", "joint"} <= set(
        recipes.names("strategies")
    )


@pytest.mark.parametrize("strategy", recipes.names("strategies"))
@pytest.mark.parametrize("benchmark", recipes.names("benchmarks"))
def test_every_shipped_pair_fits_the_signatures(benchmark: str, strategy: str) -> None:
    pair = recipes.load_benchmark(benchmark), recipes.load_strategy(strategy)
    recipes.check(recipes.resolve(*pair, {}))


@pytest.mark.parametrize("name", recipes.names("strategies"))
def test_sections_on_a_benchmark_name_a_shipped_one(name: str) -> None:
    assert set(recipes.load_strategy(name).on) <= set(recipes.names("benchmarks"))


def test_the_wheel_has_its_recipes_inside_the_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = folder / "_recipes" / "strategies"
    packaged.mkdir(parents=True)
    (packaged / "mine.toml").write_text(STRATEGY)
    monkeypatch.setattr(_recipe_files, "__file__", str(folder / "recipes.py"))
    assert recipes.names("strategies") == ["mine"]


def test_the_papers_constants() -> None:
    strategy = recipes.load_strategy("bayesbinn_reference")
    benchmark = recipes.load_benchmark("permuted_mnist")
    assert strategy.defaults["lr"] == 1e-3
    assert strategy.defaults["temperature"] == 1e-2
    assert strategy.defaults["init_lambda"] == 10
    assert strategy.defaults["average"] == "logits"
    assert (benchmark.epochs, benchmark.batch_size, benchmark.model["width"]) == (100, 100, 100)


CIFAR_STREAMS = ("split_cifar10", "split_cifar100")


def test_the_control_differs_from_the_reference_in_the_prior_alone() -> None:
    reference = recipes.load_strategy("bayesbinn_reference")
    control = recipes.load_strategy("bayesbinn_fixed_prior")
    assert reference.defaults | {"posterior_as_prior": False} == control.defaults
    for stream in CIFAR_STREAMS:
        assert reference.on[stream] == control.on[stream]


def test_joint_has_the_settings_of_the_strategy_it_bounds() -> None:
    bounded, joint = (recipes.load_strategy(name) for name in ("bayesbinn", "joint"))
    settings = dict(bounded.defaults)
    del settings["posterior_as_prior"]  # there is no next task
    assert joint.defaults == settings
    for stream in CIFAR_STREAMS:
        assert joint.on[stream] == bounded.on[stream]


def test_what_a_combination_of_ones_own_says_goes_before_what_its_parts_say(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "Mine"\noptimizer = "bop"\nplugins = ["ewc"]\n[defaults]\ngamma = 1e-4\n'
        "[defaults.ewc]\nstrength = 3\n[on.split_mnist]\nthreshold = 1e-7\n"
    )
    parts = recipes.load_strategy("bop"), load_plugin("ewc")
    assert {"gamma", "threshold"} <= parts[0].on["split_mnist"].keys()
    assert {"strength", "labels"} <= parts[1].on["split_mnist"].keys()
    mine = recipes.load_strategy(str(path))
    spec = recipes.resolve(recipes.load_benchmark("split_mnist"), mine, {})
    assert (spec.settings["gamma"], spec.settings["threshold"]) == (1e-4, 1e-7)
    assert spec.plugins["ewc"]["strength"] == 3
    assert spec.plugins["ewc"]["labels"] == parts[1].on["split_mnist"]["labels"]


def test_precedence_defaults_then_benchmark_then_override(folder: Path) -> None:
    assert spec_of(folder).settings == {"lr": 0.1, "steps": 5}
    assert spec_of(folder, steps=7).settings == {"lr": 0.1, "steps": 7}


def test_labels_name_what_differs_from_the_recipe(folder: Path) -> None:
    plain = spec_of(folder)
    assert (plain.benchmark, plain.strategy) == ("toy", "mine")
    same = spec_of(folder, steps=5, epochs=2, model__width=8)
    assert (same.benchmark, same.strategy) == ("toy", "mine")
    other = spec_of(folder, steps=6, lr=0.01, stream__n_experiences=3, epochs=1)
    assert other.benchmark == "toy[epochs=1,n_experiences=3]"
    assert other.strategy == "mine[lr=0.01,steps=6]"


def test_a_whole_number_stands_for_a_float_of_the_recipe(folder: Path) -> None:
    one, float_one = spec_of(folder, lr=1), spec_of(folder, lr=1.0)
    assert one == float_one
    assert json.dumps(one.as_dict()) == json.dumps(float_one.as_dict())


def test_true_is_not_taken_for_one(folder: Path) -> None:
    assert spec_of(folder, steps=True).strategy == "mine[steps=true]"


def test_a_label_is_a_safe_folder_name(folder: Path) -> None:
    assert spec_of(folder, mode="../a b:c").strategy == "mine[mode=.._a_b_c]"
    longest = "x" * (255 - len("mine[mode=]"))
    assert len(spec_of(folder, mode=longest).strategy) == 255
    with pytest.raises(UserError, match="a folder cannot be called mine"):
        spec_of(folder, mode=f"{longest}x")
    with pytest.raises(UserError, match="a folder cannot be called toy"):  # nor figures by it
        spec_of(folder, stream__data="x" * 220)


def test_resolving_leaves_the_recipes_as_they_are(folder: Path) -> None:
    strategy = recipes.load_strategy(str(folder / "mine.toml"))
    benchmark = recipes.load_benchmark(str(folder / "toy.toml"))
    recipes.resolve(benchmark, strategy, {"lr": 5, "model.width": 1, "stream.n_experiences": 2})
    assert strategy == recipes.load_strategy(str(folder / "mine.toml"))
    assert benchmark == recipes.load_benchmark(str(folder / "toy.toml"))


def test_a_spec_can_be_pickled_and_its_description_names_no_folder(folder: Path) -> None:
    spec = spec_of(folder)
    assert pickle.loads(pickle.dumps(spec)) == spec
    described = json.loads(json.dumps(spec.as_dict()))
    assert described["settings"] == {"lr": 0.1, "steps": 5}
    assert str(folder) not in json.dumps(described)


def test_a_users_own_module_is_found_beside_the_recipe(folder: Path) -> None:
    spec, path = spec_of(folder), list(sys.path)
    recipes.check(spec)
    learner = recipes.build(spec.build, spec.folders, model=None, plugins=[], **spec.settings)
    assert learner.lr == 0.1
    assert learner.kwargs == {"plugins": []}
    assert sys.path == path


def test_a_users_own_module_is_found_in_the_current_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert recipes.build("my_method:Learner", model=None).lr == 0.1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"stepz": 1}, "stepz: no setting of my_method:Learner; did you mean 'steps'? known: "),
        ({"model": 1}, "model: no setting of my_method:Learner"),
        ({"kwargs": 1}, "kwargs: no setting of my_method:Learner"),
        ({"build": "x"}, "build is no setting of a strategy"),
        ({"stream__seed": 1}, "stream.seed: no setting of my_method:stream"),
        ({"stream__n_experience": 1}, "did you mean 'n_experiences'?"),
        ({"model__width": 1.5}, "model.width = 1.5: expected a whole number"),
        ({"lr": "fast"}, "lr = 'fast': expected a finite number"),
        ({"lr": True}, "lr = True: expected a finite number"),
        ({"lr": float("nan")}, "lr = nan: expected a finite number"),
        ({"clip": "x"}, "clip = 'x': expected a finite number"),
        ({"mode": "fats"}, "mode = 'fats': expected one of 'fast', 'slow'"),
        ({"verbose": 1}, "verbose = 1: expected true or false"),
        ({"epochs": 0}, "epochs = 0: expected a whole number of at least 1"),
        ({"batch_size": "big"}, "batch_size = 'big': expected a whole number"),
        ({"stream__build": "my_method:not_callable"}, "is not a function or class"),
        ({"stream__build": "my_method:nothing"}, "cannot be imported"),
        ({"stream__build": "no_such_module:f"}, "No module named 'no_such_module'"),
        ({"stream__build": "just_a_name"}, "expected 'module:function'"),
        ({"stream__build": 3}, "expected 'module:function'"),
    ],
)
def test_check_refuses(folder: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        recipes.check(spec_of(folder, **overrides))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_section_of_an_override(folder: Path) -> None:
    with pytest.raises(UserError, match=r"'streem' of mine; did you mean 'stream'\?"):
        spec_of(folder, streem__seed=1)


def test_a_setting_that_the_builder_needs(folder: Path) -> None:
    path = folder / "toy.toml"
    path.write_text(BENCHMARK.replace("width = 8", ""))
    with pytest.raises(UserError, match="model.width is missing: my_method:network needs it"):
        recipes.check(spec_of(folder))


def test_a_users_module_with_a_syntax_error_is_one_line(folder: Path) -> None:
    (folder / "my_method.py").write_text("def broken(:\n")
    with pytest.raises(UserError, match="cannot be imported: .*my_method.py, line 1"):
        recipes.check(spec_of(folder))


def test_a_users_module_that_ends_the_process_is_one_line(folder: Path) -> None:
    (folder / "my_method.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(UserError, match="cannot be imported: SystemExit: 0 .*my_method.py, line 2"):
        recipes.check(spec_of(folder))


def test_a_value_out_of_range_is_a_mistake_of_the_user(folder: Path) -> None:
    spec = spec_of(folder, lr=-1)
    with pytest.raises(
        UserError,
        match=r"my_method:Learner: ValueError: lr must be positive, got -1.0 \(.*, line 8\)",
    ):
        recipes.build(spec.build, spec.folders, model=None, **spec.settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr = = 1\n", r"bad\.toml: broken TOML: .*line 1, column 6"),
        ('title = "x"\nbuild = ', r"bad\.toml: broken TOML: .*line 2, column 9"),
        ('title = "x"', r"bad\.toml: the key 'build' is missing"),
        (STRATEGY + "[default]\n", r"unknown key 'default'; did you mean 'defaults'\?"),
        ('title = 3\nbuild = "a:b"', r"title = 3: expected text"),
        ('title = "x"\nbuild = "a:b"\ndefaults = 3', r"defaults = 3: expected a table"),
        (STRATEGY.replace("[on.toy]\nsteps", "[on]\ntoy"), r"on\.toy must be a table"),
        (
            STRATEGY + "[on.t]\nx = [2024-01-01]",
            r"on\.t\.x\[0\] = 2024-01-01: expected a finite num",
        ),
        (STRATEGY + "[on.t]\nx = nan", r"on\.t\.x = nan: expected a finite number"),
    ],
)
def test_a_damaged_strategy_recipe(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        recipes.load_strategy(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 2", "epochs = 0", "epochs = 0: expected a whole number of at least 1"),
        ("epochs = 2", "epochs = true", "epochs = True: expected a whole number"),
        ("epochs = 2", "", "the key 'epochs' is missing"),
        ("epochs = 2", "epoch = 2", "unknown key 'epoch'; did you mean 'epochs'"),
        ('build = "my_method:stream"', "", r"\[stream\] needs the line build"),
    ],
)
def test_a_damaged_benchmark_recipe(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "toy.toml"
    path.write_text(BENCHMARK.replace(old, new))
    with pytest.raises(UserError, match=message):
        recipes.load_benchmark(str(path))


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown strategy 'bayesbin'; did you mean 'bayesbinn'"):
        recipes.load_strategy("bayesbin")
    with pytest.raises(UserError, match="unknown benchmark 'nothing'; known: cifar10, "):
        recipes.load_benchmark("nothing")


def test_recipe_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml: cannot read the recipe: No such file"):
        recipes.load_strategy(str(tmp_path / "none.toml"))
    with pytest.raises(UserError, match="cannot read the recipe: Is a directory"):
        recipes.load_strategy(str(tmp_path) + "/")
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"')
    with pytest.raises(UserError, match=r"latin\.toml: not UTF-8 text \(byte 9\)"):
        recipes.load_strategy(str(tmp_path / "latin.toml"))


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (1.0, int, False),
        (1, float, True),
        (float("inf"), float, False),
        ("x", str | None, True),
        (1, str | None, False),
        ([1, 2], list[int], True),
        ([1, "x"], tuple[int, ...], False),
        ([1, "x"], tuple[int, str], True),
        ([1], tuple[int, str], False),
        ([1, "x"], list, True),
        ([1, "x"], typing.List, True),  # noqa: UP006
        (1, typing.List, False),  # noqa: UP006
        ({"a": 1}, dict[str, int] | None, True),
        ("{a=1}", dict, False),
        (1, [int], True),  # no annotation: the function has the last word
        (1, Literal["1"], False),
        ("anything", "unevaluated annotation", True),
    ],
)
def test_values_against_annotations(value: object, annotation: Any, expected: bool) -> None:
    assert fits(value, annotation) is expected


def test_annotations_in_words() -> None:
    assert describe(float | None) == "a finite number"
    assert describe(dict[str, int]) == "a table, as in a recipe file"
    assert describe(list[int]) == "a list of: a whole number"
    assert describe(Literal["a", "b"] | bool) == "one of 'a', 'b' or true or false"


@pytest.mark.parametrize("jobs", ["member", "optimizer"])
def test_the_module_beside_a_recipe_is_found_whoever_names_the_recipe(
    jobs: str, tmp_path: Path
) -> None:
    held = EXAMPLES / "held.toml"
    if jobs == "member":
        learner, overrides = recipes.load_strategy("benn"), {"member": str(held)}
    else:
        path = tmp_path / "both.toml"
        path.write_text(f'title = "Both"\noptimizer = "{held}"\nplugins = ["ewc"]\n')
        learner, overrides = recipes.load_strategy(str(path)), {}
    spec = recipes.resolve(recipes.load_benchmark("split_mnist"), learner, overrides)
    assert spec.own_files() == [EXAMPLES / "held.py"]
    recipes.check(spec)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (
            'optimizer = "adam"\nplugins = ["ewc"]\n[defaults]\newc = 1000',
            "defaults.ewc = 1000: ex",
        ),
        (
            'optimizer = "adam"\nplugins = ["ewc"]\n[on.split_mnist]\newc = 5',
            r"on.split_mnist.ewc = 5: expected a table, as in \[on.split_mnist.ewc\]",
        ),
        (
            'optimizer = "adam"\nplugin = "cl_bnn.strategies:EWC"\n[defaults]\nadam = 1e-3',
            "defaults.adam = 0.001: expected a table",
        ),
        ('optimizer = "adam"\nplugins = ["ewc", 3]', "plugins holds 3: expected names"),
        ('optimizer = "adam"\nplugins = ["ewc", "ewc"]', "the plugin 'ewc' stands there twice"),
    ],
)
def test_own_combinations_are_judged_in_a_line(toml: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'title = "Mine"\n{toml}\n')
    with pytest.raises(UserError, match=message) as caught:
        recipes.load_strategy(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_combination_takes_nothing_from_the_recipe_of_a_smaller_one() -> None:
    """`ste+ewc` was searched as a whole: its settings are not those of its parts."""
    benchmark = recipes.load_benchmark("split_mnist")
    two, three, ste, bop = (
        recipes.resolve(benchmark, recipes.load_strategy(name), {})
        for name in ("ste+ewc", "ste+ewc+er", "ste", "bop+ewc")
    )
    assert three.settings == ste.settings != two.settings
    assert three.plugins["ewc"] == bop.plugins["ewc"] != two.plugins["ewc"]
