"""The command `bench`: what it is asked for, in which order it works, what it writes."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from twinplate.backends import BACKENDS
from twinplate.bench.backend import CASE_RATE, BenchBackend
from twinplate.bench.fresh import with_totals
from twinplate.bench.measure import Measured, measure, measure_case
from twinplate.bench.page import bench_page
from twinplate.bench.picture import write_cases, write_picture
from twinplate.bench.report import (
    missing_backends,
    not_installed,
    recommend,
    show_failed,
    show_table,
    show_targets,
    show_totals,
)
from twinplate.bench.terms import Limits, equal_terms, load_bench_backends, measure_limits, threads
from twinplate.bench.workload import SIZES, Workload, make_workload
from twinplate.commands.answer import STDOUT, write_json
from twinplate.commands.bench_request import BenchRequest, picture_of
from twinplate.errors import InputError
from twinplate.files import replacing, write_text
from twinplate.progress import working
from twinplate.training.run_directory import versions
from twinplate.user_file import find, parse, run_file, told_in_user_terms
from twinplate.verification.case import Case
from twinplate.words import are, counted

YOURS = "yours"
MOST_ITEMS = 65_536  # that are simulated for the user's size: N hardly changes a step


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
    own = request.own_size
    apart = "cpu" in devices and (own is not None or any(name != "XL" for name in names))
    terms = print_terms(backends, limits, console, apart)
    tables: list[Measured] = []
    flops = {}
    for name in names:
        work = make_workload(SIZES[name])
        flops[name] = work.flops
        for device in devices if name != "XL" else [d for d in devices if d != "cpu"]:
            found = _measured(name, work, backends, device, limits[device])
            _add(found, work, backends, request, tables, console)
    if "XL" in names and len(devices) == 1:
        console.print("XL fills an accelerator; there is none here: not measured.")
    show_targets(tables, console)
    if own is not None:
        simulated = replace(own, num_items=min(own.num_items, max(MOST_ITEMS, own.batch_size)))
        work = make_workload(simulated, request.guide or "auxiliary")
        for device in devices:
            found = _measured(YOURS, work, backends, device, limits[device], only_ours=True)
            _add(found, work, backends, request, tables, console)
        names = [YOURS]
        console.print(f"yours: {own}, {request.guide or 'auxiliary'} guide")
        if simulated != own:
            items = f"{counted(simulated.num_items, 'item')} {are(simulated.num_items)}"
            console.print(f"{items} simulated: N hardly changes a step.")
    advice = {
        f"size {name}": _print_recommendation(
            [table for table in tables if table.size == name], request, backends, console
        )
        for name in names
    }
    _write_page(request, tables, advice, terms, console)
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
    limits = {device: measure_limits(backends, device) for device in devices}
    terms, advice = print_terms(backends, limits, console, apart=False), {}
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
            _keep(request, tables)
        found = [table for table in tables if table.size == title]
        advice[title] = _print_recommendation(found, request, backends, console)
    _write_page(request, tables, advice, terms, console)
    if request.json is not None:
        pictured = [table for table in tables if table.rows]
        _write_files(request.json, tables, pictured, write_cases, console)


def print_terms(
    backends: Mapping[str, BenchBackend],
    limits: Mapping[str, Limits],
    console: Console,
    apart: bool,
) -> list[str]:
    """The terms that all share, and what the machine can do, in sentences.

    apart: whether whole runs are taken, each in a process of its own.
    """
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
    if apart:
        lines.append(
            "Seconds in all: of each way in a process of its own that finds nothing compiled, the import of "
            "the framework left out; ~: computed from the time per step, beyond a run and where there was "
            "none."
        )
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
    return lines


def write(path: Path | None, tables: list[Measured]) -> None:
    """All rows as a JSON list, whole or not at all; an earlier file is replaced."""
    write_json(path, [asdict(row) for table in tables for row in table.rows])


def _keep(request: BenchRequest, tables: list[Measured]) -> None:
    """Write what there is so far, so that a long benchmark that is stopped leaves something."""
    if request.json != STDOUT:
        write(request.json, tables)


def _write_page(
    request: BenchRequest,
    tables: list[Measured],
    advice: Mapping[str, list[str]],
    terms: list[str],
    console: Console,
) -> None:
    if request.html is not None:
        known = {name: lines for name, lines in advice.items() if lines}
        write_text(request.html, bench_page(tables, known, terms))
        console.print(f"Wrote {request.html}")


def _write_files(
    path: Path,
    tables: list[Measured],
    pictured: list[Measured],
    draw: Callable[[Path, list[Measured]], None],
    console: Console,
) -> None:
    write(path, tables)
    if path == STDOUT:
        return
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
) -> list[str]:
    """What to pick among the shipped ways, or among those of the user's file, in sentences."""
    if not tables:
        return []
    own = request.target is not None
    rows = [row for table in tables for row in table.rows if own or "ours" in row.name]
    what = f"{'' if own else 'size '}{tables[0].size}"
    console.print(f"\nRecommendation, {what}:", style="bold")
    lines = recommend(rows, request.training.steps, missing_backends(list(backends)))
    for line in lines:
        console.print(line, highlight=False, markup=False)
    return lines


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


def _add(
    found: Measured,
    work: Workload,
    backends: Mapping[str, BenchBackend],
    request: BenchRequest,
    tables: list[Measured],
    console: Console,
) -> None:
    """Show and keep what was measured, before whole runs of these ways are taken, and then those too."""
    tables.append(found)
    show_table(found, console)
    _keep(request, tables)
    with working(f"{found.size} on {found.device}") as tell:
        tables[-1] = with_totals(found, work, backends, tell)
    more = {name: why for name, why in tables[-1].failed.items() if name not in found.failed}
    show_totals(tables[-1], console)
    show_failed(more, console)
    _keep(request, tables)
