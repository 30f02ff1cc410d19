"""What the command `bench` is asked for, and whether that can be done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twinplate.bench.workload import SIZES, Size
from twinplate.commands.answer import STDOUT
from twinplate.errors import InputError
from twinplate.files import require_place
from twinplate.programs.config import ProgramConfig, TrainingConfig


@dataclass(frozen=True)
class BenchRequest:
    """The options of `twinplate bench`; None where an option was not given."""

    target: str | None = None
    sizes: str | None = None
    json: Path | None = None
    items: int | None = None
    features: int | None = None
    components: int | None = None
    batch_size: int | None = None
    guide: str | None = None
    steps: int | None = None
    html: Path | None = None

    @property
    def own_size(self) -> Size | None:
        """The user's size, with those of S for what was not given; None if nothing was."""
        given = (self.items, self.features, self.components, self.batch_size, self.guide)
        if all(value is None for value in given):
            return None
        small = SIZES["S"]
        return Size(
            self.items or small.num_items,
            self.features or small.num_features,
            self.components or small.num_components,
            self.batch_size or min(small.batch_size, self.items or small.num_items),
        )

    @property
    def training(self) -> TrainingConfig:
        """A configuration of training that checks the batch size and knows the default number of steps."""
        size = self.own_size or SIZES["S"]
        steps = TrainingConfig().steps if self.steps is None else self.steps
        return TrainingConfig(steps, size.batch_size)

    def check(self) -> None:
        """Raise InputError, before the work, for whatever cannot be used."""
        for name in ("items", "features", "components", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} is {value}; expected 1 or more")
        size = self.own_size
        if size is not None:
            ProgramConfig(size.num_features, size.num_components, guide=self.guide or "auxiliary")
        self.training.check_items((size or SIZES["S"]).num_items)
        if self.target is not None and (size is not None or self.sizes is not None):
            raise InputError(
                "a file brings its own sizes; leave out --sizes, --items, --features, --components, "
                "--batch-size and --guide"
            )
        if self.json is not None and self.json != STDOUT:
            if self.json.suffix.lower() == ".png":
                raise InputError(
                    f"--json is {self.json}; expected another name, such as {self.json.stem}.json: "
                    "the picture beside it ends in .png"
                )
            require_place(picture_of(self.json))
        if self.html is not None:
            require_place(self.html)

    def wanted(self, accelerated: bool) -> list[str]:
        """The names of the sizes. Raises InputError for one that is not known."""
        if self.sizes is None:
            return list(SIZES) if accelerated else ["S", "M", "L"]
        names = [name.strip() for name in self.sizes.split(",") if name.strip()]
        for name in names:
            if name not in SIZES:
                raise InputError(
                    f"--sizes names {name!r}; expected some of {', '.join(SIZES)}, separated by commas"
                )
        return names


def picture_of(json_path: Path) -> Path:
    """The PNG beside the JSON file."""
    return json_path.with_suffix(".png")
