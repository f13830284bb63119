"""Where an activation is seen: one signal of one layer, whole or of one attention head."""

from dataclasses import dataclass, field
from enum import StrEnum

from unmask.errors import BadInput


class Signal(StrEnum):
    """What can be seen of a layer while it computes. Shapes for n tokens, H heads of width d_h, model width d.

    `HEADS`: attention output of the heads, side by side, before the output projection: (n, H d_h).
    `BLOCK`: attention output after the output projection, before the residual sum: (n, d).
    `PROBABILITIES`: attention weights after the soft-max: (H, n, n).
    `HIDDEN`: what the layer hands to the next: (n, d).
    `KEY`, `VALUE`: what a cache of keys and values holds, before any rotation by position: (n, d_kv).
    """

    HEADS = "heads"
    BLOCK = "block"
    PROBABILITIES = "probabilities"
    HIDDEN = "hidden"
    KEY = "key"
    VALUE = "value"


@dataclass(frozen=True, kw_only=True, order=True)
class Site:
    """One signal of one layer.

    Args:
        layer: index of the layer, from 0.
        signal: what is seen of it.
        head: the one attention head that is seen, or None for all of them.

    Raises:
        BadInput: if the layer or the head is negative, or a signal is cut into heads that has none.
    """

    layer: int
    signal: Signal
    head: int | None = field(default=None)

    def __post_init__(self) -> None:
        if self.layer < 0 or (self.head is not None and self.head < 0):
            raise BadInput("site", self.name, "has a negative index", "count layers and heads from 0")
        if self.head is not None and self.signal in (Signal.BLOCK, Signal.HIDDEN):
            remedy = "choose heads, probabilities, key or value"
            raise BadInput("site", self.name, "has no heads: they are mixed there", remedy)

    @property
    def name(self) -> str:
        """The site's name, such as `3.hidden` or `3.heads.7`."""
        return f"{self.layer}.{self.signal}" + ("" if self.head is None else f".{self.head}")
