"""Each case runs in a fresh interpreter: what an import does shows only where it is the first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cl_bnn

PACKAGE_PARENT = str(Path(cl_bnn.__file__).parents[1])

FAILS_ALONE = """
try:
    import torchvision
except RuntimeError as error:
    assert "operator torchvision::nms does not exist" in str(error), error
else:
    raise SystemExit("NATIVE")
"""

USE_TORCHVISION = """
import torch
from torchvision import datasets, models, transforms
image, label = datasets.FakeData(size=3, image_size=(3, 8, 8), transform=transforms.ToTensor())[0]
assert image.shape == (3, 8, 8), image.shape
assert transforms.Normalize((0.5,), (0.5,))(torch.ones(1, 2, 2)).tolist() == [[[1, 1], [1, 1]]]
assert torch.ops.torchvision.nms is not None
"""

FAKE_OPERATORS = """
import torch
torch.library.Library = None  # Making one would raise a TypeError.
import cl_bnn
from cl_bnn import _torchvision
import torchvision
assert torchvision.datasets_are_here
assert _torchvision._libraries == []
"""


def run(code: str, *path: Path | str) -> str:
    """Run `code` in a fresh interpreter with `path` in front, and give what it printed."""
    search = os.pathsep.join(map(str, [*path, PACKAGE_PARENT]))
    environment = {**os.environ, "PYTHONPATH": search}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout + done.stderr


def fake_torchvision(folder: Path, code: str) -> Path:
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(code)
    return folder


@pytest.fixture(scope="module")
def needs_guard() -> None:
    """Skip where torchvision's own operators load: there is nothing to mend."""
    try:
        run(FAILS_ALONE)
    except AssertionError as error:
        if "NATIVE" not in str(error):
            raise
        pytest.skip("torchvision imports here without help")


def test_import_of_cl_bnn_loads_nothing_heavy() -> None:
    heavy = run("import cl_bnn, sys; print({'torch', 'torchvision', 'avalanche'} & {*sys.modules})")
    assert heavy.strip() == "set()"


def test_torchvision_works_after_cl_bnn() -> None:
    assert run("import cl_bnn" + USE_TORCHVISION) == ""


def test_torchvision_that_failed_before_cl_bnn_works_after_it(needs_guard: None) -> None:
    assert run(FAILS_ALONE + "import cl_bnn" + USE_TORCHVISION) == ""


def test_missing_operators_are_declared_once(needs_guard: None) -> None:
    code = """
import cl_bnn, torchvision
from cl_bnn import _torchvision
assert len(_torchvision._libraries) == 1
import importlib, inspect
importlib.reload(cl_bnn)
importlib.reload(torchvision)
assert len(_torchvision._libraries) == 1
assert "set_image_backend" in inspect.getsource(torchvision)
"""
    assert run(code) == ""


def test_operator_without_code_says_so(needs_guard: None) -> None:
    code = """
import cl_bnn, torch, torchvision
try:
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except RuntimeError as error:
    print(error)
"""
    assert "Couldn't load custom C++ ops" in run(code)


def test_real_operators_are_left_alone(tmp_path: Path) -> None:
    fake = fake_torchvision(tmp_path, "datasets_are_here = True\n")
    assert run(FAKE_OPERATORS, fake) == ""


@pytest.mark.parametrize(
    "error",
    [
        "RuntimeError('operator torchvision::nms does not exist, but for another reason')",
        "RuntimeError('operator other::nms does not exist')",
        "ValueError('operator torchvision::nms does not exist')",
    ],
)
def test_another_error_passes_through(tmp_path: Path, error: str) -> None:
    fake = fake_torchvision(tmp_path, f"raise {error}\n")
    code = f"""
import cl_bnn, sys
from cl_bnn import _torchvision
try:
    import torchvision
except Exception as error:
    assert repr(error) == repr({error}), error
    assert error.__cause__ is None and error.__context__ is None
    print("passed")
assert _torchvision._libraries == [] and "torchvision" not in sys.modules
"""
    assert run(code, fake) == "passed\n"


def test_absent_torchvision_is_an_ordinary_import_error() -> None:
    code = """
import sys
import cl_bnn
sys.path_importer_cache.clear()
sys.path[:] = []
try:
    import torchvision
except ModuleNotFoundError as error:
    print(error)
"""
    assert run(code) == "No module named 'torchvision'\n"
