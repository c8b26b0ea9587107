"""One line of the doctor's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from tempermd.records import UserError


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is good, and what was seen or what to do."""

    subject: str
    good: bool
    detail: str

    def line(self) -> str:
        """Return the finding as a line of text."""
        return f"{'ok     ' if self.good else 'MISSING'}  {self.subject:<18} {self.detail}"


def finding_of(subject: str, check: Callable[[], str]) -> Finding:
    """Return what a check found; what it raises is what lacks."""
    try:
        return Finding(subject, True, check())
    except (
        UserError,
        OSError,
        ImportError,
        metadata.PackageNotFoundError,
        subprocess.SubprocessError,
    ) as error:
        lines = str(error).strip().splitlines()
        return Finding(subject, False, lines[-1] if lines else type(error).__name__)
