"""The utility of bounded decoding on synthetic next-token distributions."""

import time

import numpy as np

from benchmarks.privacy_accounting import row
from benchmarks.rows import Row
from unmask.privacy.mechanisms.bounded_decoding import BoundedDecoding, largest_weight

VOCABULARY, PLACES, TOKENS, DELTA = 2000, 300, 50, 1e-5


def rows() -> list[Row]:
    """How much of what the span adds survives, per epsilon; unit: one marked span, over 50 tokens."""
    rng = np.random.default_rng(0)
    # A Zipf law in a new order at each place. The span moves a third of the places by much, the others by little.
    public = np.stack([rng.permutation(1 / np.arange(1.0, VOCABULARY + 1)) for _ in range(PLACES)])
    public /= public.sum(1, keepdims=True)
    spread = np.where(rng.random(PLACES) < 1 / 3, 1.5, 0.2)[:, None]
    private = public * np.exp(spread * rng.normal(size=public.shape))
    private /= private.sum(1, keepdims=True)
    alone = (private * np.log(private / public)).sum(1).mean()
    found = []
    for replaced in (False, True):
        for epsilon in (1.0, 4.0, 8.0, 16.0, 32.0):
            began = time.perf_counter()
            mechanism = BoundedDecoding(epsilon=epsilon, delta=DELTA, tokens=TOKENS, replace=replaced)
            weight = largest_weight(private, public, mechanism.bound, mechanism.enforced)
            mixed = weight[:, None] * private + (1 - weight[:, None]) * public
            lost = (private * np.log(private / mixed)).sum(1).mean()
            found.append(
                row(
                    f"Bounded decoding, {TOKENS} tokens, span {'replaced' if replaced else 'removed'}, epsilon "
                    f"{epsilon:g}, delta 1e-5, synthetic distributions: share of the span's information that is used",
                    "reported",
                    round(float(1 - lost / alone), 4),
                    True,
                    PLACES,
                    time.perf_counter() - began,
                    control=f"mean weight {weight.mean():.3f}; 0 without the span, 1 without privacy",
                )
            )
    return found
