"""What tests of the benchmarks share: a size that takes no time, what each JSON file holds."""

import json
import sys
from pathlib import Path

from twinplate.programs.config import TrainingConfig

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from problem import Size

SIZE = Size(num_items=32, num_features=6, num_components=2, batch_size=8, hidden_width=8)
TINY = [f"--{k.replace('_', '-')}={v}" for k, v in vars(SIZE).items()]
BACKENDS = ("pyro", "numpyro")


def tiny_training(**values):
    return TrainingConfig(3, SIZE.batch_size, device="cpu", **values)


def read(path):
    content = json.loads(path.read_text())
    assert set(content["facts"]) == {"size", "training", "seeds", "threads", "versions"}
    assert content["facts"]["size"] == vars(SIZE)
    assert {"numpy", "torch", "pyro-ppl", "jax", "numpyro"} <= content["facts"]["versions"].keys()
    return content["rows"]
