"""What a surface behind a mechanism passes on to the surface that it stands in front of."""

from dataclasses import replace
from typing import Any, Protocol, TypeVar

from unmask.surface import Release

BehindT = TypeVar("BehindT", bound="Behind")


class Based(Protocol):
    """A surface that selects and releases."""

    @property
    def select(self) -> str:
        """What is seen."""

    @property
    def release(self) -> Release:
        """What is done to the tensors before they are seen."""

    def with_release(self, release: Release) -> Any:
        """Return the same surface with another release."""

    def rounding(self, victim: Any) -> float:
        """Return how far the replay of a decoy lies from what is exactly seen of it."""


class Behind:
    """Selects and releases as its `base` does: a dataclass that inherits from it declares that field."""

    base: Based

    @property
    def select(self) -> str:
        """What is seen."""
        return self.base.select

    @property
    def release(self) -> Release:
        """What is done to the tensors on top of the mechanism."""
        return self.base.release

    def with_release(self: BehindT, release: Release) -> BehindT:
        """Return the same surface with another release on top.

        Args:
            release: what is done to the tensors before they are seen.

        Raises:
            BadInput: if the surface shows nothing but exact tensors, and this one is not.
        """
        changed: Any = replace(self, base=self.base.with_release(release))  # type: ignore[type-var] # inheritors are dataclasses
        return changed

    def rounding(self, victim: Any) -> float:
        """Return how far the replay of a decoy lies from what the base shows of it; what is noised is never certified.

        Args:
            victim: a victim of the base's kind, of texts or of images, with a decoy for a secret.

        Raises:
            BadInput: if the decoy leaves no trace in what is selected.
        """
        return self.base.rounding(victim)
