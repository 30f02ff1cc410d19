"""A fork behaves as an interpreter of its own."""

from __future__ import annotations

SCRIPTS = {
    "sets.py": "import sys, torch\ntorch.left_behind = 1\nprint(__name__, sys.argv[0][-7:])",
    "looks.py": "import os, torch\nprint(hasattr(torch, 'left_behind'), sorted(os.listdir()))",
    "fails.py": "import sys\nprint('before')\nraise ValueError('on purpose')",
    "leaves.py": "import sys\nsys.exit(3)",
    "neighbour.py": "import looks",
    "threads.py": "import os\nprint(len(os.listdir('/proc/self/task')))",
}


def test_scripts_share_nothing_and_end_as_they_would_alone(interpreter, tmp_path):
    done = {}
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text)
        folder = tmp_path / f"folder of {name}"
        folder.mkdir()
        done[name] = interpreter.run(tmp_path / name, folder)
    printed = {name: (ran.returncode, ran.stdout) for name, ran in done.items()}
    seen = "False ['stderr', 'stdout']\n"
    assert printed == {
        "sets.py": (0, "__main__ sets.py\n"),
        "looks.py": (0, seen),
        "fails.py": (1, "before\n"),
        "leaves.py": (3, ""),
        "neighbour.py": (0, seen),
        "threads.py": (0, "1\n"),
    }
    assert done["fails.py"].stderr.endswith("ValueError: on purpose\n")
    assert "Traceback" in done["fails.py"].stderr
