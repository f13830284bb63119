"""Bag of words: a token embedding's gradient is zero in the rows of every token that did not occur."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from unmask.attack import Reconstruction
from unmask.attacks.layout import noise_deviation
from unmask.observation import Observation
from unmask.public import Component, Kind, Place
from unmask.subspace import ROUNDING


@dataclass(frozen=True, kw_only=True)
class EmbeddingBag:
    """Read the set of tokens off the gradient of the token embeddings.

    Row t of the gradient is `sum over positions i with token t of dL/dx_i`, hence zero unless t
    occurs (Melis et al. 2019). Exact without noise, except where the output layer shares the
    table and fills every row; then, and under noise sigma, a row of width d counts if its norm
    exceeds what the other rows show, `median + quantile * 1.4826 * MAD`, or `sigma sqrt(d)` times
    1 + 4 / sqrt(d) if that is larger. The loss is 0: there is nothing to compare.

    Args:
        name: registered name.
        source: publication.
        quantile: deviations above the median that a row must exceed in a table without zeros.
    """

    name: str = "bag"
    source: str = "Melis et al., S&P 2019, arXiv 1805.04049"
    quantile: float = 12.0

    def run(self, observation: Observation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield one guess: a bag, no order; `generator` is not used."""
        size = observation.model.vocabulary.size
        place = next((p for p in observation.places if is_token_table(p, size)), None)
        if place is None:
            note = "no gradient of the token embeddings is visible"
            yield Reconstruction(tokens=(), loss=float("inf"), note=note, absent=True, done=True)
            return
        norms = observation.tensors[place.name][:size].double().norm(dim=1)
        noise = noise_deviation(observation)
        zero = ROUNDING["float32"] * float(norms.max())
        width = place.shape[1]
        floor = max(zero, noise * (width**0.5 + 4))
        dense = bool((norms > floor).double().mean() > 0.5)
        if dense:
            middle = norms.median()
            floor = float(middle + self.quantile * 1.4826 * (norms - middle).abs().median())
        found = (norms > floor).nonzero()[:, 0]
        found = found[norms[found].argsort(descending=True)]
        note = "rows that stand out of a table shared with the output layer" if dense else "non-zero rows"
        yield Reconstruction(
            tokens=(),
            bag=tuple(found.tolist()),
            loss=0.0,
            note=f"{note} of {place.name}",
            done=True,
            absent=not len(found),
        )


def is_token_table(place: Place, size: int) -> bool:
    """Whether a place is the table of token embeddings: an embedding with at least V rows."""
    return place.kind is Kind.EMBEDDING and place.component in (Component.EMBEDDING, None) and place.shape[0] >= size
