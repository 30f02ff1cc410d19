"""The command that makes a run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplate.programs.config import TrainingConfig
from twinplate.programs.likelihood import COUNTS
from twinplate.reporting.runs import ReportedRun


def command_of(run: ReportedRun) -> list[str]:
    """The words of the command that made the run, but for its DATA."""
    config, training = run.saved.program.config, run.saved.training
    words = ["twinplate", "fit", "DATA", "--out", run.name, "--backend", run.backend]
    words += ["--guide", config.guide]
    if config.guide != "diagonal":
        words += ["--covariance", config.covariance]
    if config.covariance == "low-rank":
        words += ["--rank", str(config.rank)]
    learned = run.fit.program.learned if run.fit.program else ()
    if "loadings" in learned:
        words += ["--components", str(config.num_components)]
    else:
        words += ["--loadings", "LOADINGS.npz"]
    words += ["--steps", str(training.steps), "--seed", str(training.seed)]
    usual = TrainingConfig().for_items(int(run.saved.data["num_items"]))
    for name in ("objective", "batch_size", "learning_rate", "particles", "precision", "device"):
        value = getattr(training, name)
        if value != getattr(usual, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    if config.encoder == "experts":
        words += ["--missing", "mask"]
    return words + _of_counts(run) + _of_data(run.saved.data)


def _of_counts(run: ReportedRun) -> list[str]:
    config = run.saved.program.config
    if config.likelihood == "normal":
        return []
    words = ["--likelihood", config.likelihood]
    if config.offset == "given":
        return [*words, "--offset", run.saved.data.get("offset", "OFFSET")]
    return (
        [*words, "--no-offset"] if config.likelihood in COUNTS and not config.has_offsets else words
    )


def _of_data(data: Mapping[str, Any]) -> list[str]:
    """What was taken of the file."""
    words = []
    if left_out := [name for name in data.get("left_out", ()) if name != data.get("offset")]:
        words += ["--drop", ",".join(_quoted(name) for name in left_out)]
    if data.get("id_columns"):
        words += ["--id-column", data["id_columns"][-1]]
    if data.get("layer"):
        words += ["--layer", data["layer"]]
    if data.get("selected"):
        words += ["--items", ",".join(_quoted(name) for name in data["selected"])]
    return words


def _quoted(name: str) -> str:
    """As `--drop` and `--items` read a name with a comma."""
    return f'"{name}"' if "," in name else name
