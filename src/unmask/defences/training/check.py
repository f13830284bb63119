"""One line of a self-test."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """One property that the guarantee rests on.

    Args:
        name: what was checked.
        passed: whether it holds.
        measured: what was found.
        expected: what had to be found.
    """

    name: str
    passed: bool
    measured: str
    expected: str

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'FAILED'}: {self.name}: {self.measured} ({self.expected})"
