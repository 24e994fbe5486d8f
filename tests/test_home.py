"""Avalanche writes into the user's home when it is imported; here the home cannot be written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cl_bnn

PACKAGE_PARENT = str(Path(cl_bnn.__file__).parents[1])

IMPORT = """
import os
before = os.environ["HOME"]
import cl_bnn
import avalanche
from avalanche.benchmarks.datasets import default_dataset_location
assert os.environ["HOME"] == before, os.environ["HOME"]
print(default_dataset_location("cifar10"))
"""


def run(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter whose home is `home`."""
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": PACKAGE_PARENT}
    environment.pop("MPLCONFIGDIR", None)
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(params=["missing", "file"])
def no_home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A home that nobody can write to, not even root, who may ignore permissions."""
    file = tmp_path / "file"
    file.write_text("")
    return file if request.param == "file" else file / "home"


def test_avalanche_alone_needs_a_home(tmp_path: Path) -> None:
    """What `_home` mends; if this fails, Avalanche has changed and `_home` may go."""
    (tmp_path / "file").write_text("")
    disarm = "import sys, cl_bnn; sys.meta_path[:] = [finder for finder in sys.meta_path"
    disarm += " if 'avalanche' not in getattr(finder, 'name', '')]; import avalanche"
    done = run(disarm, tmp_path / "file" / "home")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("NotADirectoryError")


def test_avalanche_is_imported_in_silence(no_home: Path) -> None:
    done = run(IMPORT, no_home)
    assert (done.returncode, done.stderr) == (0, "")
    folder = Path(done.stdout.strip())
    assert folder.parts[-3:] == (".avalanche", "data", "cifar10")
    assert not folder.parents[2].exists(), "the temporary home is removed"


def test_a_home_that_can_be_written_is_used(tmp_path: Path) -> None:
    done = run(IMPORT + "assert 'MPLCONFIGDIR' not in os.environ", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(tmp_path / ".avalanche" / "data" / "cifar10")
    config = json.loads((tmp_path / ".avalanche" / "config.json").read_text())
    assert config == {"dataset_location": str(tmp_path / ".avalanche" / "data")}
