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
for out, text in {files!r}.items():
    Path("own.py").write_text(text)
    assert twinplate("record", "own.py", "-o", out, *{like!r}) == 0
assert not set({absent!r}) & {{name.split(".")[0] for name in sys.modules}}
"""
COMPARE = """
import sys
from verify_files import twinplate
assert twinplate("compare", "first", "same") == 0
assert twinplate("compare", "first", "wrong") == 1
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


@pytest.mark.parametrize("order", ["pyro first", "numpyro first"])
def test_each_framework_records_without_the_other_and_compares_without_its_own(order) -> None:
    sides = [(PYRO, JAX_SIDE), (NUMPYRO, TORCH_SIDE)]
    (text, absent), (other, other_absent) = sides if order == "pyro first" else sides[::-1]
    fresh(REFUSE, SAVE, files={"first": text}, absent=absent, like=())
    wrong = other.replace("Normal(mu, 0.5)", "Normal(mu, 0.6)")
    files = {"same": other, "wrong": wrong}
    fresh(REFUSE, SAVE, files=files, absent=other_absent, like=("--like", "first"))
    for blocked in (other_absent, TORCH_SIDE + JAX_SIDE):
        shown = fresh(REFUSE, COMPARE, absent=blocked)
        assert re.search("^SAME.*^DIFFERS: log density of model site x", shown, re.S | re.M)
