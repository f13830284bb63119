"""A non-linearity of one variable that a polynomial takes the place of, with one forward for both."""

import math
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import BadInput
from unmask.poly.layers.series import Series
from unmask.poly.polynomial import Polynomial

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "silu": F.silu,
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "identity": lambda x: x,
    "inverse": torch.reciprocal,
    "inverse-sqrt": torch.rsqrt,
}

TAME, BEYOND = 4, 2.0
"""Coefficients up to which a polynomial is tame outside of its interval; others are held in training to where
T_d is at most cosh(BEYOND)."""


class Activation(nn.Module):
    """A function of one variable; after `substitute` a polynomial, whose coefficients are parameters.

    Args:
        function: one of `FUNCTIONS`.

    Raises:
        BadInput: if the function is unknown.

    Example:
        >>> Activation("gelu")(torch.zeros(2))
        tensor([0., 0.])
    """

    def __init__(self, function: str) -> None:
        super().__init__()
        if function not in FUNCTIONS:
            raise BadInput("activation", function, "is unknown", f"name one of: {', '.join(FUNCTIONS)}")
        self.function = function
        self.error = float("nan")
        self.coefficients: nn.Parameter | None
        self.interval: Tensor | None
        self.register_parameter("coefficients", None)
        self.register_buffer("interval", None)

    @property
    def substituted(self) -> bool:
        """Whether a polynomial is in place."""
        return self.coefficients is not None

    @property
    def wild(self) -> bool:
        """Whether a polynomial is in place that must not be used outside of its interval, not even a little."""
        return self.coefficients is not None and (self.pole or len(self.coefficients) > TAME)

    @property
    def pole(self) -> bool:
        """Whether the function has a pole at zero."""
        return self.function.startswith("inverse")

    @property
    def watched(self) -> bool:
        """Whether a hook wants to see what enters or leaves."""
        return bool(self._forward_pre_hooks or self._forward_hooks)

    def substitute(self, polynomial: Polynomial) -> None:
        """Put a polynomial in place of the function, or of the polynomial before it.

        Args:
            polynomial: from now on what `forward` computes.
        """
        # By a pole the values at one end are thousands of those at the other, with few digits left in float32.
        empty = torch.empty(0, dtype=torch.float64 if self.pole else torch.float32)
        like = self.coefficients if self.coefficients is not None else empty
        values = torch.tensor(polynomial.coefficients, dtype=torch.float64).to(like)
        self.coefficients = nn.Parameter(values)
        self.interval = torch.tensor(polynomial.interval, dtype=torch.float64)
        self.error = polynomial.error

    def polynomial(self, interval: tuple[float, float] | None = None) -> Polynomial:
        """Return the polynomial in place.

        Args:
            interval: where it will be used, if not where it was fitted; the same polynomial in another basis.

        Raises:
            BadInput: if none is in place.
        """
        if self.coefficients is None or self.interval is None:
            raise BadInput("activation", self.function, "has no polynomial in its place", "substitute one first")
        low, high = self.interval.tolist()
        series = np.polynomial.Chebyshev(self.coefficients.detach().double().numpy(), domain=[low, high])
        moved = series if interval is None else series.convert(domain=list(interval), kind=np.polynomial.Chebyshev)
        # A trailing zero that the change of basis dropped is a coefficient all the same: the degree is fixed.
        values = np.zeros(len(series.coef))
        values[: len(moved.coef)] = moved.coef
        return Polynomial(
            coefficients=tuple(values.tolist()),
            interval=interval or (low, high),
            error=self.error if interval is None else float("nan"),
            approximates=self.function,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the function or the polynomial of each entry."""
        if self.coefficients is None or self.interval is None:
            return FUNCTIONS[self.function](x)
        if self.training and self.wild:
            # What leaves the interval in training is drawn back by a penalty; until then its value would be so
            # large that one example ends the run.
            low, high = self.interval.tolist()
            reach = 0.5 * (math.cosh(BEYOND / (len(self.coefficients) - 1)) - 1.0) * (high - low)
            x = x.clamp(low - reach, high + reach)
        return chebyshev(x, self.coefficients, self.interval)


def chebyshev(x: Tensor, coefficients: Tensor, interval: Tensor) -> Tensor:
    """Return sum_k c_k T_k(t), t in [-1, 1] where x is in the interval, by Clenshaw's recurrence.

    Args:
        x: any shape; halves are computed as float32, because the recurrence magnifies rounding.
        coefficients: (degree + 1,); in float64 the sum is as well.
        interval: (2,), its ends.
    """
    low, high = interval.tolist()
    x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    if coefficients.dtype is torch.float64 and x.dtype is not torch.float64:
        return chebyshev(x.double(), coefficients, interval).to(x.dtype)
    t = (x - 0.5 * (low + high)) * (2.0 / (high - low))
    return cast(Tensor, Series.apply(t, coefficients))
