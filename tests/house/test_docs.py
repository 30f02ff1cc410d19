"""The documentation is true: its code runs, its quotations and its tables are those of the code.

- Every ```python block of a page runs, in order, in one namespace. A ```text block right after one
  is what it prints.
- A block under `<!-- example: examples/NAME -->` is that file's region between `# --- begin` and
  `# --- end`; it is run with the examples instead.
- A block under `<!-- output: examples/NAME -->` is checked by `test_examples.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from twinplate import LinearGaussian, ProgramConfig, TrainingConfig, initial_params, make_program
from twinplate.programs.config import PAIRS
from twinplate.programs.parameters import noise_shapes, output_size

ROOT = Path(__file__).parents[2]
PAGES = [p for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if p.exists()]
BLOCK = re.compile(
    r"(?:^<!-- (example|output): (\S+) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
REGION = re.compile(r"^# --- begin\n(.*?)^# --- end$", re.DOTALL | re.MULTILINE)
RUNNER = """
import contextlib, io, json
namespace, printed = {"__name__": "__main__"}, []
for title, code in json.load(open("blocks.json")):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, title, "exec"), namespace)
    printed.append(out.getvalue())
print(json.dumps(printed))
"""
NEEDS = {"other-tools.md": ("pandas", "sklearn", "xarray")}  # of the extras
SIZES = {"N": 11, "B": 7, "K": 3, "D": 5, "R": 2, "H": 4}


def blocks(page):
    """(marker, file, language, text) of every fenced block."""
    return [match.groups() for match in BLOCK.finditer(page.read_text())]


def runnable(page):
    """[code, what it prints or None] of every block that runs."""
    found = []
    for marker, _, language, text in blocks(page):
        if marker is None and language == "python":
            found.append([text, None])
        elif marker is None and language == "text" and found:
            found[-1][1] = text
    return found


# One compares the frameworks themselves, at length, and changes when their pinned versions do; what the
# others show is much what tests/conversion, tests/interop and the tests of counts do.
LONG = {"known-differences.md", "convert.md", "counts.md", "other-tools.md"}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, marks=pytest.mark.slow if p.name in LONG else (), id=p.name)
        for p in PAGES
        if runnable(p)
    ],
)
def test_python_blocks_run_and_print_what_stands_below(page, tmp_path, interpreter):
    for package in NEEDS.get(page.name, ()):
        pytest.importorskip(package)
    found = runnable(page)
    code = [(f"{page.name}, block {i}", text) for i, (text, _) in enumerate(found, 1)]
    (tmp_path / "blocks.json").write_text(json.dumps(code))
    (tmp_path / "page.py").write_text(RUNNER)
    ran = interpreter.run(tmp_path / "page.py", tmp_path)
    assert ran.returncode == 0, ran.stderr
    for (title, _), (_, expected), printed in zip(code, found, json.loads(ran.stdout), strict=True):
        assert expected is None or printed == expected, title


@pytest.mark.slow
def test_the_commands_of_the_first_page_run(tmp_path, monkeypatch):
    """One after the other, on the file that its first block of Python writes."""
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "start.md"
    exec(runnable(page)[0][0], {})
    commands = [text for _, _, language, text in blocks(page) if language == "sh"]
    for line in "".join(commands).splitlines():
        program, *arguments = line.split()
        assert program == "twinplate"
        ran = subprocess.run([sys.executable, "-m", program, *arguments], capture_output=True)
        assert ran.returncode == 0, ran.stderr.decode()
    filled = (tmp_path / "filled.csv").read_text().splitlines()
    assert filled[1].startswith("p0,-0.5489,") and ",," not in "".join(filled)


def test_the_pages_that_must_run_do():
    assert {"shapes.md", "known-differences.md", "training.md"} <= {
        page.name for page in PAGES if runnable(page)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_marked_blocks_are_the_files_they_name(page):
    for marker, name, _, text in blocks(page):
        if marker == "example":
            (region,) = REGION.findall((ROOT / name).read_text())
            assert text == region, f"{page.name} quotes an older {name}"
        elif marker == "output":
            assert (ROOT / name).exists(), f"{page.name} quotes {name}, which is gone"


def test_the_readme_answers_the_question_in_both_frameworks():
    named = {name for marker, name, *_ in blocks(ROOT / "README.md") if marker == "example"}
    assert {"examples/question_pyro.py", "examples/question_numpyro.py"} <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page):
    for target, _, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)(#([^)\s]*))?\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, (
                f"{page.name} links to #{anchor}"
            )


def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# The tables of notation.md


def table(header):
    """Rows of the table of notation.md whose header row starts with `header`, cells without backquotes."""
    text = (ROOT / "docs" / "notation.md").read_text()
    (body,) = re.findall(
        rf"^\| {re.escape(header)} \|.*\n\|[-| ]*\|\n((?:\|.*\n)+)", text, re.MULTILINE
    )
    return [[cell.strip(" `") for cell in row[1:-1].split("|")] for row in body.splitlines()]


def shape(text, **sizes):
    """(H, 2D) as a tuple of numbers."""
    product = re.sub(r"(\d)([A-Z])", r"\1*\2", text)
    return eval(product, {**SIZES, **sizes})


@pytest.mark.parametrize("config_class", [ProgramConfig, TrainingConfig])
def test_configuration_tables_list_fields_and_defaults(config_class):
    documented = {name: default for name, default, _ in table(f"`{config_class.__name__}`")}
    defaults = {
        f.name: "" if f.default is MISSING else repr(f.default) for f in fields(config_class)
    }
    assert documented == defaults


@pytest.mark.parametrize("guide", PAIRS)
def test_noise_table_is_what_guides_consume(guide):
    rows = [row for row in table("guide") if row[0] == guide]
    documented = {c.strip("`"): (site, s) for _, cs, site, s in rows for c in cs.split(", ")}
    assert set(documented) == set(PAIRS[guide][1])
    for covariance, (site, text) in documented.items():
        config = ProgramConfig(
            SIZES["D"], SIZES["K"], guide, covariance=covariance, rank=SIZES["R"]
        )
        assert noise_shapes(config, SIZES["B"]) == {site: shape(text)}


def small_program(encoder):
    config = ProgramConfig(
        SIZES["D"],
        SIZES["K"],
        learned=("loadings", "intercept", "noise_scale"),
        encoder=encoder,
        hidden_width=SIZES["H"],
    )
    truth = LinearGaussian([[1.0] * SIZES["K"]] * SIZES["D"])
    x = [[float(i * d % 3) for d in range(SIZES["D"])] for i in range(SIZES["N"])]
    return make_program(x, config, truth)


def documented_parameters(encoder):
    other = {"mlp": "experts", "experts": "mlp"}[encoder]
    others = {f"encoder `{other}", "of the negative binomial, if learned"}  # here it is a normal
    return [row for row in table("neutral name") if row[4] not in others]


@pytest.mark.parametrize("encoder", ["mlp", "experts"])
def test_parameter_table_is_the_neutral_layout(encoder):
    program = small_program(encoder)
    documented = {
        name: shape(text, O=output_size(program.config))
        for name, text, *_ in documented_parameters(encoder)
    }
    assert documented == {name: v.shape for name, v in initial_params(program, 0).items()}


@pytest.mark.parametrize("encoder", ["mlp", "experts"])
def test_parameter_table_has_the_native_names_of_pyro(encoder):
    pyro = pytest.importorskip("pyro")
    torch = pytest.importorskip("torch")
    from pyro_impl import build

    program = small_program(encoder)
    with pyro.get_param_store().scope():
        pair = build(program, initial_params(program, 0))
        x = torch.zeros(SIZES["B"], SIZES["D"])
        pair.guide(x), pair.model(x)
        native = set(pyro.get_param_store().keys())
    assert native == {row[2] for row in documented_parameters(encoder)}


@pytest.mark.parametrize("encoder", ["mlp", "experts"])
def test_parameter_table_has_the_native_names_of_numpyro(encoder):
    jax = pytest.importorskip("jax")
    from numpyro_impl import build

    program = small_program(encoder)
    params = build(program, initial_params(program, 0)).params
    native = {"/".join(key.key for key in path) for path, _ in jax.tree.leaves_with_path(params)}
    assert native == {row[3] for row in documented_parameters(encoder)}
