"""The command `bench`: what it is asked for, in which order it works, what it writes."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from twinplate.backends import BACKENDS
from twinplate.bench.backend import CASE_RATE, BenchBackend
from twinplate.bench.measure import Measured, measure, measure_case
from twinplate.bench.picture import write_cases, write_picture
from twinplate.bench.report import (
    missing_backends,
    not_installed,
    recommend,
    show_table,
    show_targets,
)
from twinplate.bench.terms import Limits, equal_terms, load_bench_backends, measure_limits, threads
from twinplate.bench.workload import SIZES, Size, Workload, make_workload
from twinplate.errors import InputError
from twinplate.files import replacing, require_place, write_text
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.progress import working
from twinplate.training.run_directory import versions
from twinplate.user_file import find, parse, run_file, told_in_user_terms
from twinplate.verification.case import Case
from twinplate.words import are, counted

YOURS = "yours"
MOST_ITEMS = 65_536  # that are simulated for the user's size: N hardly changes a step


@dataclass(frozen=True)
class BenchRequest:
    """The options of `twinplate bench`; None where an option was not given."""

    target: str | None = None
    sizes: str | None = None
    json: Path | None = None
    items: int | None = None
    features: int | None = None
    components: int | None = None
    batch_size: int | None = None
    guide: str | None = None
    steps: int | None = None

    @property
    def own_size(self) -> Size | None:
        """The user's size, with those of S for what was not given; None if nothing was."""
        given = (self.items, self.features, self.components, self.batch_size, self.guide)
        if all(value is None for value in given):
            return None
        small = SIZES["S"]
        return Size(
            self.items or small.num_items,
            self.features or small.num_features,
            self.components or small.num_components,
            self.batch_size or min(small.batch_size, self.items or small.num_items),
        )

    @property
    def training(self) -> TrainingConfig:
        """A configuration of training that checks the batch size and knows the default number of steps."""
        size = self.own_size or SIZES["S"]
        steps = TrainingConfig().steps if self.steps is None else self.steps
        return TrainingConfig(steps, size.batch_size)

    def check(self) -> None:
        """Raise InputError, before the work, for whatever cannot be used."""
        for name in ("items", "features", "components", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} is {value}; expected 1 or more")
        size = self.own_size
        if size is not None:
            ProgramConfig(size.num_features, size.num_components, guide=self.guide or "auxiliary")
        self.training.check_items((size or SIZES["S"]).num_items)
        if self.target is not None and (size is not None or self.sizes is not None):
            raise InputError(
                "a file brings its own sizes; leave out --sizes, --items, --features, --components, "
                "--batch-size and --guide"
            )
        if self.json is not None:
            if self.json.suffix.lower() == ".png":
                raise InputError(
                    f"--json is {self.json}; expected another name, such as {self.json.stem}.json: "
                    "the picture beside it ends in .png"
                )
            for path in (self.json, picture_of(self.json)):
                require_place(path)

    def wanted(self, accelerated: bool) -> list[str]:
        """The names of the sizes. Raises InputError for one that is not known."""
        if self.sizes is None:
            return list(SIZES) if accelerated else ["S", "M", "L"]
        names = [name.strip() for name in self.sizes.split(",") if name.strip()]
        for name in names:
            if name not in SIZES:
                raise InputError(
                    f"--sizes names {name!r}; expected some of {', '.join(SIZES)}, separated by commas"
                )
        return names


def run_bench(request: BenchRequest, console: Console) -> None:
    """Measure, print and write what was asked for. Raises InputError."""
    request.check()
    request.wanted(accelerated=False)
    if request.target is not None:
        path, name = parse(request.target)
    backends = load_bench_backends()
    with equal_terms(backends):
        if request.target is None:
            run_sizes(request, backends, console)
        else:
            run_cases(request, path, name, backends, console)


def run_sizes(
    request: BenchRequest, backends: Mapping[str, BenchBackend], console: Console
) -> None:
    """All ways to train at the standard sizes; then the shipped ones at the user's."""
    devices = sorted({device for backend in backends.values() for device in backend.devices()})
    names = request.wanted(accelerated=len(devices) > 1)
    limits = {device: measure_limits(backends, device) for device in devices}
    print_terms(backends, limits, console)
    tables, flops = [], {}
    for name in names:
        work = make_workload(SIZES[name])
        flops[name] = work.flops
        for device in devices if name != "XL" else [d for d in devices if d != "cpu"]:
            tables.append(_measured(name, work, backends, device, limits[device]))
            show_table(tables[-1], console)
            write(request.json, tables)
    if "XL" in names and len(devices) == 1:
        console.print("XL fills an accelerator; there is none here: not measured.")
    show_targets(tables, console)
    own = request.own_size
    if own is not None:
        simulated = replace(own, num_items=min(own.num_items, max(MOST_ITEMS, own.batch_size)))
        work = make_workload(simulated, request.guide or "auxiliary")
        for device in devices:
            tables.append(_measured(YOURS, work, backends, device, limits[device], only_ours=True))
            show_table(tables[-1], console)
        names = [YOURS]
        console.print(f"yours: {own}, {request.guide or 'auxiliary'} guide")
        if simulated != own:
            items = f"{counted(simulated.num_items, 'item')} {are(simulated.num_items)}"
            console.print(f"{items} simulated: N hardly changes a step.")
    for name in names:
        found = [table for table in tables if table.size == name]
        _print_recommendation(found, request, backends, console)
    if request.json is not None:
        standard = [table for table in tables if table.size in flops]
        draw = partial(write_picture, flops=flops)
        _write_files(request.json, tables, standard, draw, console)


def run_cases(
    request: BenchRequest,
    path: Path,
    name: str,
    backends: Mapping[str, BenchBackend],
    console: Console,
) -> None:
    """Both programs of the case, or of every case, of a user's file."""
    cases = find(run_file(path), path, name, "Case", lambda value: isinstance(value, Case))
    devices = sorted({device for backend in backends.values() for device in backend.devices()})
    print_terms(backends, {device: measure_limits(backends, device) for device in devices}, console)
    for line in (
        "No floor: nothing is written by hand for your programs. ÷ fastest is round by round, too.",
        f"Adam at {CASE_RATE:g}. Loss: mean of the last block, every way with draws of its own.",
        "That both programs do the same work was not verified; run: twinplate verify "
        f"{request.target}",
    ):
        console.print(line, highlight=False, markup=False)
    tables: list[Measured] = []
    for title, case in cases.items():
        for device in devices:
            with working(title) as tell, told_in_user_terms(f"{title} of {path} cannot be run"):
                tables.append(measure_case(title, case, backends, device, tell))
            show_table(tables[-1], console)
            write(request.json, tables)
        found = [table for table in tables if table.size == title]
        _print_recommendation(found, request, backends, console)
    if request.json is not None:
        pictured = [table for table in tables if table.rows]
        _write_files(request.json, tables, pictured, write_cases, console)


def print_terms(
    backends: Mapping[str, BenchBackend], limits: Mapping[str, Limits], console: Console
) -> None:
    """The terms that all share, and what the machine can do."""
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores; {known}",
        f"Equal terms: {threads()} thread(s) for torch and for XLA, float32 products in full "
        "precision (no TF32), validation off, no compiled code from a cache.",
        "Ways to train take turns, block by block in random order; medians; spread: interquartile "
        "range.",
        "Compile: seconds to the first result beyond those of a later one. Peak: what a step "
        "allocates beyond data, parameters and moments (JAX: XLA's plan; torch: its allocator).",
    ]
    for device, limit in limits.items():
        lines.append(
            f"Limits of {device}: matrix product {limit.flops / 1e9:,.0f} GFLOP/s, copy "
            f"{limit.bytes / 1e9:,.1f} GB/s"
        )
    if limits and "gpu" not in limits:
        lines.append("GPU: none found; not measured.")
    for device in sorted({device for backend in backends.values() for device in backend.devices()}):
        for name, backend in backends.items():
            if device not in backend.devices():
                seeing = BACKENDS[name][1][0]
                lines.append(f"{name} was not measured on {device}: {seeing} sees none.")
    lines += [not_installed(backend) for backend in missing_backends(list(backends))]
    for line in lines:
        console.print(line, highlight=False, markup=False)


def picture_of(json_path: Path) -> Path:
    """The PNG beside the JSON file."""
    return json_path.with_suffix(".png")


def write(path: Path | None, tables: list[Measured]) -> None:
    """All rows as a JSON list, whole or not at all; an earlier file is replaced."""
    if path is not None:
        rows = [asdict(row) for table in tables for row in table.rows]
        write_text(path, json.dumps(rows, indent=1) + "\n")


def _write_files(
    path: Path,
    tables: list[Measured],
    pictured: list[Measured],
    draw: Callable[[Path, list[Measured]], None],
    console: Console,
) -> None:
    write(path, tables)
    console.print(f"Wrote {path}")
    if not pictured:
        return
    picture = picture_of(path)
    try:
        with replacing(picture) as temporary:
            draw(temporary, pictured)
    except InputError as error:  # the numbers are there, only matplotlib is missing
        console.print(f"No picture: {error}")
        return
    console.print(f"Wrote {picture}")


def _print_recommendation(
    tables: list[Measured],
    request: BenchRequest,
    backends: Mapping[str, BenchBackend],
    console: Console,
) -> None:
    """What to pick among the shipped ways, or among those of the user's file."""
    if not tables:
        return
    own = request.target is not None
    rows = [row for table in tables for row in table.rows if own or "ours" in row.name]
    what = f"{'' if own else 'size '}{tables[0].size}"
    console.print(f"\nRecommendation, {what}:", style="bold")
    for line in recommend(rows, request.training.steps, missing_backends(list(backends))):
        console.print(line, highlight=False, markup=False)


def _measured(
    name: str,
    work: Workload,
    backends: Mapping[str, BenchBackend],
    device: str,
    limits: Limits,
    only_ours: bool = False,
) -> Measured:
    with working(f"{name} on {device}") as tell:
        return measure(name, work, backends, device, limits, only_ours, tell)
