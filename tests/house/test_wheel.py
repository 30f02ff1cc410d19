"""The built package, away from this checkout: what it holds, and that it certifies an install."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("twinplate", "pyro_impl", "numpyro_impl", "equivalence_tests")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, built in a copy of the checkout."""
    copy, out = tmp_path_factory.mktemp("copy") / "checkout", tmp_path_factory.mktemp("source")
    unwanted = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist")
    shutil.copytree(ROOT, copy, ignore=unwanted)
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(out)!r})"
    command = [sys.executable, "-c", build]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built of the source distribution, as an installer would build it."""
    out = tmp_path_factory.mktemp("wheel")
    # Without an environment of its own for the build, which would be downloaded.
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    build += ["--wheel-dir", out, source]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the unpacked wheel."""
    target = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def run_suite(installed: Path, *options: str, absent: str = "") -> subprocess.CompletedProcess[str]:
    """`pytest --pyargs equivalence_tests` of the installed package, in a directory of its own."""
    code = (
        "import sys, pytest\n"
        f"sys.path.insert(0, {str(installed)!r})\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if {absent!r} and name.split('.')[0] == {absent!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"sys.exit(pytest.main(['--pyargs', 'equivalence_tests', *{list(options)!r}]))\n"
    )
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=installed,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_source_holds_what_readme_speaks_of(source: Path) -> None:
    """Every link and every path; and it is installed from a checkout, not by name."""
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    spoken = set()
    for name in ("README.md", "CONTRIBUTING.md", "docs/README.md"):
        text = (ROOT / name).read_text()
        links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text)
        spoken |= {os.path.normpath(Path(name).parent / link) for link in links}
        files = {p for p in re.findall(r"[\w./-]+/[\w./-]+", text) if (ROOT / p).is_file()}
        spoken |= {p for p in files if not p.startswith("docs-site/")}  # which `make docs` makes
    assert {"examples/question_pyro.py", "docs/inpainting.png"} <= spoken
    wanted = {os.path.normpath(p) for p in spoken} | {"Makefile", "constraints.txt", "LICENSE"}
    assert {p for p in wanted if not p.startswith(".")} - held == set()
    assert "pip install 'twinplate[" not in (ROOT / "README.md").read_text()


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".py", ".typed"))}
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for pattern in ("*.py", "*.typed")
        for path in (ROOT / package).rglob(pattern)
    }
    assert wanted - held == set()


@pytest.mark.slow
def test_the_installed_suite_runs_and_prints_its_header(installed: Path) -> None:
    """One quick test in both frameworks: that the rest passes is shown in the checkout."""
    one = "test_diagonal_guide_is_exact"
    done = run_suite(installed, "-k", one, "-p", "no:cacheprovider", "-W", "ignore")
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\b2 passed, \d+ deselected", done.stdout), done.stdout[-3000:]
    assert f"rootdir: {installed}" in done.stdout
    for word in ("twinplate equivalence: python", "torch", "numpyro", "devices:", "float64"):
        assert word in done.stdout, word


@pytest.mark.parametrize(("absent", "extra"), [("torch", "torch"), ("jax", "jax")])
def test_the_installed_suite_says_what_is_missing(installed: Path, absent: str, extra: str) -> None:
    done = run_suite(installed, absent=absent)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "needs both frameworks" in done.stderr and extra in done.stderr
    assert "pip install 'twinplate[all]'" in done.stderr
