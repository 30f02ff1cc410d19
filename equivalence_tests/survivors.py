"""Mechanical mistakes that the verifier does not report, each with the reason why it need not."""

from __future__ import annotations

SURVIVORS: dict[str, str] = {}
