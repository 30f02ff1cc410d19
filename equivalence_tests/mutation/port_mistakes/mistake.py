"""One deliberate mistake: an edit of a correct pair, and where it must be seen."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from equivalence_tests.mutation.mutants import source, spoilt_records
from twinplate.records.record import Record
from twinplate.verification.report import Report, compare

NUMERIC = ("density", "execution")  # NaN, or an exception of the framework's validation
JAX = "import jax"


@dataclass(frozen=True)
class Mistake:
    """`new` for `old` in the definition `where` of `pair`, seen in its `case`.

    stages, program, site: where the report's headline must be; any of the stages.
    """

    pair: str
    where: str
    old: str
    new: str
    site: str
    stages: tuple[str, ...] = ("density",)
    program: str = "model"
    case: str = "CASE"
    imports: str = ""

    def text(self) -> str:
        """The pair's source with the mistake. Raises ValueError unless `old` occurs once."""
        text = source(self.pair)
        definitions = [node for node in ast.parse(text).body if _name(node) == self.where]
        if len(definitions) != 1:
            raise ValueError(f"{self.pair} defines {self.where} {len(definitions)} times")
        right = ast.get_source_segment(text, definitions[0])
        assert right is not None
        if right.count(self.old) != 1:
            raise ValueError(f"{self.pair}: {self.old!r} occurs {right.count(self.old)} times")
        spoilt = text.replace(right, right.replace(self.old, self.new))
        return f"{self.imports}\n{spoilt}" if self.imports else spoilt

    def records(self) -> tuple[Record, Record]:
        """Records of the program that is right and of the spoilt one."""
        return spoilt_records(self.pair, self.case, self.where, self.text())

    def report(self) -> Report:
        """The comparison of the two."""
        return compare(*self.records())

    def is_caught(self, report: Report) -> bool:
        """Whether the programs differ, or the framework itself raises where the mistake is."""
        if report.verdict != "could not run":
            return report.verdict == "differs"
        return "execution" in self.stages or self.is_located(report)

    def is_located(self, report: Report) -> bool:
        """Whether the headline names the place of the mistake."""
        if not report.findings:
            return False
        head = report.findings[0]
        return (head.stage in self.stages and head.program == self.program) and (
            head.site == self.site
        )


M = Mistake


def _name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
