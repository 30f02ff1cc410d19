"""The command `doctor`: what is installed, what it runs on, what it keeps on disk, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from twinplate.backends import BACKENDS, load_backend
from twinplate.commands.answer import write_json
from twinplate.commands.options import JsonOut, Quiet
from twinplate.commands.told import tell
from twinplate.errors import InputError
from twinplate.host import host_memory
from twinplate.words import counted

# distribution -> (what it is for, the extra that brings it)
OPTIONAL = {
    "matplotlib": ("pictures of demo and bench", "all"),
    "pyarrow": ("Parquet files", "all"),
    "zarr": ("Zarr stores", "all"),
    "scikit-learn": ("the demo's digits, the estimator", "sklearn"),
    "xarray": ("to_arviz, NetCDF files, datasets in Zarr", "xarray"),
    "anndata": ("H5AD files", "anndata"),
    "h5netcdf": ("NetCDF files", "xarray"),
    "pytest": ("assert_same in tests of your own", "all"),
}
COMPILERS = ("g++", "clang++", "c++", "cl")
GPU_DRIVER = "nvidia-smi"  # comes with the driver of a GPU


@dataclass(frozen=True)
class Backend:
    """devices: names of what it sees, the one that is taken by default first; none where it is missing.

    cache: the directory of compiled programs.  missing: in words, or nothing.
    """

    devices: tuple[str, ...] = ()
    cache: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Examination:
    """versions, optional: by package; None where it is not installed.  machine: in words.

    advice: what is missing, and what to do.
    """

    versions: dict[str, str]
    machine: str
    backends: dict[str, Backend]
    optional: dict[str, str | None]
    compiler: str | None
    advice: list[str]


def doctor(json: JsonOut = None, quiet: Quiet = False) -> None:
    """Print versions, devices and caches on this machine, and what is missing.

    Frameworks are imported, so this takes seconds. Exit code 1 where neither of them can be used.

    Example: twinplate doctor --json doctor.json
    """
    found = examine()
    write_json(json, asdict(found))
    _print(Console(), found)
    if all(backend.missing for backend in found.backends.values()):
        raise typer.Exit(1)


def examine() -> Examination:
    """What there is."""
    from twinplate.training.run_directory import versions  # it takes long to import

    backends = {name: _backend(name) for name in BACKENDS}
    optional = {name: _version(name) for name in OPTIONAL}
    compiler = next(filter(None, map(shutil.which, _compilers())), None)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{platform.platform()}, {counted(cores or 1, 'core')}, {host_memory() / 1e9:.1f} GB"
    return Examination(
        versions(), machine, backends, optional, compiler, _advice(backends, optional, compiler)
    )


def _backend(name: str) -> Backend:
    try:
        package = load_backend(name).__name__
        device, cache = (import_module(f"{package}.{m}") for m in ("device", "compilation_cache"))
        return Backend(device.device_names(), str(cache.kept_in()))
    except InputError as error:
        return Backend(missing=str(error))
    except Exception as error:  # a broken installation fails in any way while it is imported
        return Backend(missing=f"backend {name!r} cannot be used: {type(error).__name__}: {error}")


def _version(distribution: str) -> str | None:
    from importlib import metadata  # takes long to import

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _compilers() -> list[str]:
    return [*filter(None, [os.environ.get("CXX")]), *COMPILERS]


def _advice(
    backends: dict[str, Backend], optional: dict[str, str | None], compiler: str | None
) -> list[str]:
    """A sentence for each thing that is missing."""
    found = [backend.missing for backend in backends.values() if backend.missing]
    if shutil.which(GPU_DRIVER):
        found += [
            f"{name} sees no GPU, although the driver of one is installed: install its build for CUDA"
            for name, backend in backends.items()
            if not backend.missing and backend.devices[0] == "cpu"
        ]
    if not backends["pyro"].missing and compiler is None:
        found.append(
            "machine_code=True of pyro needs a C++ compiler: install g++ or clang, or set CXX"
        )
    for name, version in optional.items():
        if version is None:
            purpose, extra = OPTIONAL[name]
            found.append(f"{name} is not installed ({purpose}): pip install 'twinplate[{extra}]'")
    return found


def _print(console: Console, found: Examination) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("machine", found.machine)
    table.add_row("versions", ", ".join(f"{name} {v}" for name, v in found.versions.items()))
    for name, backend in found.backends.items():
        table.add_row(name, "cannot be used" if backend.missing else ", ".join(backend.devices))
        if backend.cache:
            table.add_row("", f"compiled programs in {backend.cache}{_size(Path(backend.cache))}")
    installed = [f"{name} {version}" for name, version in found.optional.items() if version]
    table.add_row("beside them", ", ".join(installed) or "nothing")
    table.add_row("C++ compiler", found.compiler or "none")
    console.print(table)
    for sentence in found.advice:
        tell(console, f"Missing: {sentence}")
    if not found.advice:
        tell(console, "Nothing is missing.")


def _size(folder: Path) -> str:
    """How many files are in there and how large they are, or nothing where there are none."""
    sizes = []
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # another process has just removed it
                sizes.append(os.path.getsize(os.path.join(where, name)))
    if not sizes:
        return ", empty"
    return f": {counted(len(sizes), 'file')}, {sum(sizes) / 1e6:.1f} MB"
