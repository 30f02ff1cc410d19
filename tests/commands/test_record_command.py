"""`twinplate record` and `compare` from the outside: they say what `verify` says, one framework at a time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absent import JAX_SIDE, REFUSE, TORCH_SIDE
from verify_files import NUMPYRO, PYRO, WRONG, file, twinplate

from twinplate import Record

pytestmark = pytest.mark.usefixtures("own_folder")


def test_records_say_what_verify_says(capsys) -> None:
    assert twinplate("record", file(PYRO, "a.py"), "-o", "a") == 0
    for text, expected in ((NUMPYRO, 0), (NUMPYRO.replace("0.5", "0.25"), 1)):
        name = file(text, f"b{expected}.py")
        out = f"b{expected}"
        assert twinplate("record", f"{name}:SECOND", "-o", out, "--like", "a") == 0
        assert twinplate("compare", "a", out, "--json", "r.json") == expected
        (report,) = json.loads(Path("r.json").read_text()).values()
        assert report["verdict"] == ("differs" if expected else "same")
    assert "Recorded 5 runs of a pyro program in a" in capsys.readouterr().out


def test_a_case_is_recorded_one_program_after_the_other() -> None:
    file(WRONG)
    assert twinplate("record", "port.py:CASE", "-o", "a") == 0
    assert twinplate("record", "port.py:CASE", "-o", "b", "--like", "a") == 0
    assert (Record.load("a").framework, Record.load("b").framework) == ("pyro", "numpyro")
    assert twinplate("compare", "a", "b") == 1


SAVE = """
import sys
from pathlib import Path
from verify_files import twinplate
for out, text, *like in {records!r}:
    Path("own.py").write_text(text)
    assert twinplate("record", "own.py", "-o", out, *like) == 0
assert not set({absent!r}) & {{name.split(".")[0] for name in sys.modules}}
"""
COMPARE = """
import sys
from verify_files import twinplate
for first, second in (("pyro", "numpyro"), ("numpyro", "pyro")):
    assert twinplate("compare", first, f"{{second}} same") == 0
    assert twinplate("compare", first, f"{{second}} wrong") == 1
assert not set({absent!r}) & {{name.split(".")[0] for name in sys.modules}}
"""


def fresh(*parts: str, **values) -> str:
    """What a fresh interpreter prints, in the working directory."""
    path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(part.format(**values) for part in parts)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_each_framework_records_without_the_other_and_both_are_compared_without_any() -> None:
    """Either one first: of the other one there is a record like its own, right and wrong."""

    def like(first: str, name: str, text: str) -> list[tuple[str, ...]]:
        wrong = text.replace("Normal(mu, 0.5)", "Normal(mu, 0.6)")
        versions = {"same": text, "wrong": wrong}
        return [(f"{name} {word}", text, "--like", first) for word, text in versions.items()]

    fresh(REFUSE, SAVE, records=[("pyro", PYRO)], absent=JAX_SIDE)
    records = [("numpyro", NUMPYRO), *like("pyro", "numpyro", NUMPYRO)]
    fresh(REFUSE, SAVE, records=records, absent=TORCH_SIDE)
    fresh(REFUSE, SAVE, records=like("numpyro", "pyro", PYRO), absent=JAX_SIDE)
    shown = fresh(REFUSE, COMPARE, absent=TORCH_SIDE + JAX_SIDE)
    told = "^SAME.*^DIFFERS: log density of model site x.*"
    assert re.search(2 * told, shown, re.S | re.M)
