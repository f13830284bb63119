"""Where each number of an input lies in a ciphertext: feature, block, token, image, from the outside in.

slot = ((feature * blocks + block) * rows + token) * batch + image. Rotating by a multiple of `feature_step` then
moves features around a ring, since that axis fills the whole ciphertext: sums over the features of a head come
out right in every slot, without a mask. The blocks hold copies of an input, or its shifts by 0, 1, 2, ... tokens,
so that one product of ciphertexts compares every token with `blocks` others, for all heads at once. Images that
share a ciphertext are interleaved: every step is a multiple of their number, and the circuit does not change.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput

Array = NDArray[np.float64]


def power(count: int) -> int:
    """Return the least power of two that is not below `count`."""
    return 1 << (count - 1).bit_length()


@dataclass(frozen=True, kw_only=True)
class Packing:
    """The four axes of a ciphertext's slots.

    Args:
        width: places for features, a power of two.
        blocks: copies or shifts side by side, a power of two.
        rows: places for tokens, a power of two.
        batch: images in one ciphertext, a power of two.
        tokens: tokens of one input, at most `rows`.

    Raises:
        BadInput: if a size is no power of two, or the tokens exceed the rows.

    Example:
        >>> Packing(width=64, blocks=16, rows=16, batch=2, tokens=16).slots
        32768
    """

    width: int
    blocks: int
    rows: int
    batch: int
    tokens: int

    def __post_init__(self) -> None:
        for name in ("width", "blocks", "rows", "batch"):
            size = getattr(self, name)
            if size < 1 or size != power(size):
                raise BadInput(name, size, "is no power of two", f"take {power(max(size, 1))}")
        if not 1 <= self.tokens <= self.rows:
            raise BadInput("tokens", self.tokens, f"are not in 1 to {self.rows}", "take more rows")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sizes of the axes: features, blocks, tokens, images."""
        return self.width, self.blocks, self.rows, self.batch

    @property
    def slots(self) -> int:
        """Entries of a vector."""
        return self.width * self.feature_step

    @property
    def token_step(self) -> int:
        """Slots from a token to the next."""
        return self.batch

    @property
    def block_step(self) -> int:
        """Slots from a block to the next."""
        return self.rows * self.batch

    @property
    def feature_step(self) -> int:
        """Slots from a feature to the next."""
        return self.blocks * self.block_step

    @property
    def shifted(self) -> int:
        """Ciphertexts that hold the shifts by every number of tokens."""
        return -(-self.tokens // self.blocks)

    def vector(self, values: Array) -> Array:
        """Return (slots,) of an array that broadcasts to `shape`."""
        return np.ascontiguousarray(np.broadcast_to(values, self.shape)).reshape(-1)

    def pack(self, inputs: Array) -> Array:
        """Return one vector of up to `batch` inputs, copied into every block.

        Args:
            inputs: (count, tokens, features).

        Raises:
            BadInput: if they do not fit.
        """
        count, tokens, features = inputs.shape
        if tokens != self.tokens or features > self.width or not 1 <= count <= self.batch:
            room = f"(1 to {self.batch}, {self.tokens}, up to {self.width})"
            raise BadInput("inputs", inputs.shape, "do not fit the packing", f"give {room}")
        full = np.zeros((self.width, 1, self.rows, self.batch))
        full[:features, 0, :tokens, :count] = inputs.transpose(2, 1, 0)
        return self.vector(full)

    def unpack(self, slots: Array, rows: int, groups: int = 1) -> Array:
        """Return (batch, tokens, rows * groups): the first features of evenly spaced blocks, group after group.

        Args:
            slots: a decrypted vector.
            rows: features of each group.
            groups: how many blocks hold some.
        """
        cube = slots.reshape(self.shape)[:rows, :: self.blocks // groups, : self.tokens]
        return cube[:, :groups].transpose(3, 2, 1, 0).reshape(self.batch, self.tokens, rows * groups)

    def to_json(self) -> dict[str, int]:
        """Return the sizes as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Packing":
        """Return what `to_json` wrote.

        Raises:
            BadInput: if a size is missing.
        """
        try:
            return cls(**{name: int(data[name]) for name in ("width", "blocks", "rows", "batch", "tokens")})
        except (KeyError, TypeError, ValueError) as wrong:
            raise BadInput("packing", dict(data), f"is incomplete ({wrong})", "compile the network again") from wrong
