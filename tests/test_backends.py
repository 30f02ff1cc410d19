"""Implementations are found by the framework's name; a missing framework names the extra to install.

Imports are blocked in a fresh process, in two ways: as Python blocks them (None in `sys.modules`), and
by a finder that refuses, as a broken installation does.
"""

import subprocess
import sys

import pytest

from twinplate.backends import available_backends, default_backend, load_backend
from twinplate.errors import InputError

NEEDED = {"pyro": ["torch", "pyro"], "numpyro": ["jax", "numpyro", "flax", "optax"]}
FRAMEWORKS = [(backend, module) for backend in NEEDED for module in NEEDED[backend]]

BLOCK = {
    "none": "import sys\nfor name in {blocked!r}: sys.modules[name] = None\n",
    "finder": """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
""",
    "absent": """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {blocked!r} else found(name, *rest)
""",
}
ASK = """
from twinplate.backends import available_backends, load_backend
print(*available_backends())
try:
    load_backend({backend!r})
except ValueError as error:
    print(type(error).__name__, error)
loaded = {{"torch", "pyro", "jax", "numpyro", "flax", "optax"}} & sys.modules.keys()
print(*(name for name in loaded if sys.modules[name] is not None))
"""


def ask(backend: str, blocked: list[str], how: str) -> list[str]:
    """Lines: what is available, the refusal, frameworks that were imported on the way."""
    code = "import sys\n" + BLOCK[how].format(blocked=blocked) + ASK.format(backend=backend)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


@pytest.mark.parametrize("name", ["torch", "Pyro", "", "pyro_impl"])
def test_an_unknown_backend(name):
    with pytest.raises(InputError, match=f"backend is {name!r}; expected 'pyro' or 'numpyro'"):
        load_backend(name)


def test_the_default_is_what_is_installed(monkeypatch):
    """NumPyro where both are."""
    for available, default in ((["pyro", "numpyro"], "numpyro"), (["pyro"], "pyro")):
        monkeypatch.setattr("twinplate.backends.available_backends", lambda found=available: found)
        assert default_backend() == default
    monkeypatch.setattr("twinplate.backends.available_backends", list)
    with pytest.raises(
        InputError, match=r"neither framework .* pip install 'twinplate\[numpyro\]'"
    ):
        default_backend()


@pytest.mark.parametrize("how", BLOCK)
@pytest.mark.parametrize("backend", NEEDED)
def test_a_missing_framework_names_the_extra(backend, how):
    available, refusal, loaded = ask(backend, NEEDED[backend], how)
    assert backend not in available.split()
    assert refusal.startswith(f"InputError backend {backend!r} needs ")
    assert " and ".join(NEEDED[backend]) in refusal
    assert f"pip install 'twinplate[{backend}]'" in refusal
    assert loaded == ""


@pytest.mark.parametrize(("backend", "module"), FRAMEWORKS)
def test_one_missing_package_is_enough(backend, module):
    available, refusal, loaded = ask(backend, [module], "none")
    assert backend not in available.split()
    assert f"needs {module}, which cannot be imported" in refusal
    assert f"twinplate[{backend}]" in refusal and loaded == ""


@pytest.mark.parametrize("backend", NEEDED)
def test_an_installed_backend(backend):
    for module in NEEDED[backend]:
        pytest.importorskip(module)
    assert backend in available_backends()
    package = load_backend(backend)
    assert package.__name__ == f"{backend}_impl"
    assert callable(package.fit) and callable(package.posterior)
