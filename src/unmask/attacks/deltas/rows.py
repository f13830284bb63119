"""Words and their positions from the changes of two embedding tables."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.bag import is_token_table
from unmask.observation import Observation
from unmask.public import Kind, Place
from unmask.subspace import ROUNDING

ONCE = 0.75
"""Coefficient from which a word stands at one position; several occurrences share it out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """What the two tables show.

    Args:
        words: (W,) every token that occurred.
        changes: (W, d) their rows.
        placed: word to the one position at which it stands, for words that occurred once.
        first: row of the first position; some models begin behind the row of their filling.
    """

    words: Tensor
    changes: Tensor
    placed: dict[int, int]
    first: int

    @property
    def repeated(self) -> tuple[int, ...]:
        """Words of which the positions are not told, strongest first."""
        order = self.changes.norm(dim=1).argsort(descending=True)
        return tuple(w for w in self.words[order].tolist() if w not in self.placed)


def tables(observation: Observation) -> tuple[Place, Place] | None:
    """Return the tables of token and of position embeddings, or None if one is not seen.

    Args:
        observation: what was seen.
    """
    size = observation.model.vocabulary.size
    found = [place for place in observation.places if place.kind is Kind.EMBEDDING]
    token = next((place for place in found if is_token_table(place, size)), None)
    position = next((place for place in found if "position" in place.name and place is not token), None)
    return None if token is None or position is None else (token, position)


def read_rows(observation: Observation, token: Place, position: Place) -> Rows:
    """Return which words occurred, and where those stand that occurred once.

    A token and its position are added before anything else happens, so both rows sum the same vectors:
    `dE[t] = sum over occurrences of t of g_i` and `dP[j] = sum over tokens at j of g_i`, with
    `g_i = dL/dx_i` summed over all steps of gradient descent, momentum or not. So dP[j] is a combination of
    rows of dE in which a word that occurred once has coefficient 1 at its position and 0 elsewhere.
    That holds for any number of steps.

    Args:
        observation: what was seen.
        token: the table of tokens.
        position: the table of positions.
    """
    change = observation.tensors[token.name][: observation.model.vocabulary.size].double()
    words = _moved(change)
    where = _moved(observation.tensors[position.name].double())
    rows = change[words]
    shares = torch.linalg.lstsq(rows.T, observation.tensors[position.name].double()[where].T).solution
    special = observation.model.vocabulary.special
    placed = {}
    for word, share in zip(words.tolist(), shares, strict=True):
        best = int(share.argmax())
        rest = float(share.abs().sum() - share[best].abs()) / max(1, len(where) - 1)
        if word not in special and float(share[best]) > max(ONCE, 3 * rest):
            placed[word] = int(where[best] - where[0])
    return Rows(words=words, changes=rows, placed=placed, first=int(where[0]))


def _moved(table: Tensor) -> Tensor:
    norms = table.norm(dim=1)
    return (norms > ROUNDING["float32"] * norms.max()).nonzero()[:, 0]
