"""Interpreters that refuse a framework, as if it were not installed."""

TORCH_SIDE = ("torch", "pyro")
JAX_SIDE = ("jax", "jaxlib", "numpyro", "flax", "optax")

# What an import raises where a package is not installed, and before anything else is imported.
REFUSE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
for name in {absent!r}:
    try:
        __import__(name)
    except ImportError:
        pass
    else:
        raise SystemExit(f"{{name}} was not refused")
"""
