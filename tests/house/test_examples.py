"""Every example is listed here, runs on its own, and prints what it promises.

Where the documentation quotes an example's output, between fences under a line
`<!-- output: examples/NAME -->`, the quotations of a page make up the whole output, in order.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [p for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if p.exists()]
QUOTED = re.compile(
    r"^<!-- output: examples/(\S+) -->\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


def answers_the_question(printed):
    """200 steps take the ELBO close to the exact log evidence, never above it beyond noise."""
    first, last, exact = numbers(printed)[:3]
    assert first < exact - 5
    assert exact - 0.3 < last < exact + 0.05
    assert re.search(r"a_aux dist +100 +\| 3", printed)
    assert re.search(r" a dist +3 100 +\|", printed)


def right_losses_are_the_log_evidence(printed):
    for expected, *losses in map(
        numbers, re.findall(r"a right loss is.*?(?:\n\n|\Z)", printed, re.S)
    ):
        assert losses[0] == expected
        assert losses[-1] == expected or losses[-1] > expected + 1
    assert "x dist 5 1 4 | 3" in printed


def only_the_plate_keeps_the_bound(printed):
    exact, *losses = numbers(printed)[:4]
    assert losses == [exact] * 3
    rows = {name: numbers(row) for name, row in re.findall(r"^(.*?): +([\d. ]+)$", printed, re.M)}
    inside = rows.pop("a inside mini_batch")
    assert inside[0] == inside[2] == exact < inside[1]
    outside = [v for name, v in rows.items() if "steps outside" in name or "model and" in name]
    assert len(outside) == 2
    for at_exact, narrower, full in outside:
        assert narrower < at_exact != full == exact


def gap_is_what_the_diagonal_guide_misses(printed):
    table = np.array([numbers(line) for line in printed.splitlines()[1:]])
    _, _, evidence, full, diagonal, gap = table.T
    np.testing.assert_array_equal(full, evidence)
    np.testing.assert_allclose(evidence - diagonal, gap, atol=1.1e-3)  # printed to three digits
    assert np.all(np.diff(gap.reshape(3, 2), axis=0) > 0)


def the_mistake_is_named(printed):
    """The right port is the same; of the wrong one, the page shows what is printed."""
    reports = re.split(r"^(?=SAME|DIFFERS)", printed, flags=re.MULTILINE)[1:]
    page = (ROOT / "docs" / "verify.md").read_text()
    shown = re.findall(r"^```console\n\$ twinplate verify .*?\n(.*?)^```$", page, re.S | re.M)
    assert list(map(rounded, shown)) == list(map(rounded, reports))
    assert reports[0].startswith("SAME at the tested inputs, parameters and draws\n")
    assert reports[1].startswith("DIFFERS: log density of model site y: differs (40 of 40 numbers")
    assert "a variance is given where a standard deviation is expected" in reports[1]


def rounded(report):
    """A report without versions, and with six digits of every number."""
    text = re.sub(r"^(first|second|both) .*\n", "", report, flags=re.MULTILINE)
    return trimmed(re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.6g}", text))


def the_joint_guide_is_closer(printed):
    """By more than half a nat, by correlations that the diagonal guide has not; new items are covered."""
    diagonal, full, correlation = numbers(printed)
    assert full > diagonal + 0.5
    assert correlation > 0.3
    assert 85 < int(re.search(r"(\d+) % of the new", printed)[1]) <= 100


def intervals_hold_the_truth(printed):
    """90 % intervals of 800 numbers, correlated within an image, of a guide that is a little too sure."""
    held, error = re.search(r"(\d+) %\nerror of a reconstruction: (\S+)", printed).groups()
    assert 83 <= int(held) <= 96
    assert float(error) < 0.2


def the_correlated_guide_gains(printed):
    """More than half a nat; its bound is nearly the log evidence, and its decoder is the better one."""
    usual, correlated, (gained,) = np.split(np.array(numbers(printed)), [3, 6])
    for elbo, evidence, gap in (usual, correlated):
        np.testing.assert_allclose(evidence - elbo, gap, atol=0.011)  # printed to two digits
    assert gained == pytest.approx(correlated[0] - usual[0], abs=0.011) and gained > 0.5
    assert 0 <= correlated[2] < 0.2 < 0.4 < usual[2]
    assert correlated[1] > usual[1] + 0.1


def correlations_are_the_truth(printed):
    """On average within 0.1, and not far for any cell; intervals of 150 numbers; predicted zeros."""
    *means, off = numbers(printed)
    assert len(means) == 6
    for guide, true in zip(means[::2], means[1::2], strict=True):
        assert guide == pytest.approx(true, abs=0.1) and true < -0.3
    assert off < 0.12
    held, predicted, seen = map(int, re.findall(r"(\d+) %(?! int)", printed))
    assert 82 <= held <= 97
    assert abs(predicted - seen) <= 3


EXAMPLES = {
    "cells_numpyro.py": correlations_are_the_truth,
    "cells_pyro.py": correlations_are_the_truth,
    "correlated_vae_numpyro.py": the_correlated_guide_gains,
    "correlated_vae_pyro.py": the_correlated_guide_gains,
    "images_numpyro.py": intervals_hold_the_truth,
    "images_pyro.py": intervals_hold_the_truth,
    "linear_gaussian_exact.py": gap_is_what_the_diagonal_guide_misses,
    "own_model_numpyro.py": the_joint_guide_is_closer,
    "own_model_pyro.py": the_joint_guide_is_closer,
    "plates_numpyro.py": only_the_plate_keeps_the_bound,
    "plates_pyro.py": only_the_plate_keeps_the_bound,
    "question_numpyro.py": answers_the_question,
    "question_pyro.py": answers_the_question,
    "shapes_numpyro.py": right_losses_are_the_log_evidence,
    "shapes_pyro.py": right_losses_are_the_log_evidence,
    "verify_port.py": the_mistake_is_named,
}


def test_every_example_is_listed():
    found = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
    assert found == sorted({*EXAMPLES, *PARTS}), (
        "list every file of examples/ with a check of its output"
    )


PARTS = {  # of several examples
    "cells_data.py",
    "correlated_vae_data.py",
    "images_data.py",
    "images_picture.py",
}

# Their lessons are those of docs/own-model.md and of what `make test` runs.
LONG = {
    "cells_numpyro.py",
    "cells_pyro.py",
    "correlated_vae_numpyro.py",
    "correlated_vae_pyro.py",
    "images_numpyro.py",
    "own_model_numpyro.py",
    "own_model_pyro.py",
    "plates_pyro.py",
    "shapes_numpyro.py",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in sorted(EXAMPLES)],
)
def test_example_prints_what_it_promises_and_what_the_docs_quote(name, tmp_path, interpreter):
    ran = interpreter.run(ROOT / "examples" / name, tmp_path)
    assert ran.returncode == 0, ran.stderr
    EXAMPLES[name](ran.stdout)
    for page, quoted in quotations(name).items():
        assert "\n\n".join(quoted) == trimmed(ran.stdout), f"{page} quotes another output"


def quotations(name):
    """The quoted pieces of an example's output, by page."""
    found = {page.name: QUOTED.findall(page.read_text()) for page in PAGES}
    pieces = {
        page: [trimmed(text) for n, text in all_ if n == name] for page, all_ in found.items()
    }
    return {page: texts for page, texts in pieces.items() if texts}


def trimmed(text):
    """`text` without the blanks that the frameworks' tables leave at the ends of lines."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def test_the_shape_guide_quotes_its_four_examples():
    quoted = {name for name in EXAMPLES if "shapes.md" in quotations(name)}
    assert quoted == {name for name in EXAMPLES if name.startswith(("shapes_", "plates_"))}
