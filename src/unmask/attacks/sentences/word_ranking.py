"""What many tried words say about the untried ones: a running ridge regression for every position."""

import torch
from torch import Tensor
from torch.nn import functional as F

GLOBAL, LOCAL = 300.0, 300.0
FADED = 0.8


class WordRanking:
    """Predict a word's score at a position from the scores of other words there.

    Scores that come in are centred and scaled. One regression on the words' features is shared by
    all positions: what the sentence is about. A second one for each position fits what it
    leaves. What was learnt in former contexts fades.

    Args:
        features: (V, d_f) of every token that can occur.
        positions: number of positions N.
        shared: ridge of the shared regression.
        local: ridge of each position's own.
        faded: share of the former rounds' weight that a new round leaves.
    """

    def __init__(
        self,
        features: Tensor,
        positions: int,
        *,
        shared: float = GLOBAL,
        local: float = LOCAL,
        faded: float = FADED,
    ) -> None:
        self.features, self.ridges, self.faded = features, (shared, local), faded
        width = features.shape[1]
        self.gram = features.new_zeros(positions, width, width)
        self.sums = features.new_zeros(positions, width)

    def fade(self) -> None:
        """Let what was learnt so far count less."""
        self.gram *= self.faded
        self.sums *= self.faded

    def add(self, position: int, words: Tensor, scores: Tensor) -> None:
        """Learn the scores (C,) of words (C,), indices among those that can occur, at a position's index."""
        tried = self.features[words]
        spread = scores.std(correction=0).clamp_min(1e-9)
        self.gram[position] += tried.T @ tried
        self.sums[position] += tried.T @ ((scores - scores.mean()) / spread)

    def predicted(self) -> Tensor:
        """Return a score (N, V) of every word at every position, low where low ones were added."""
        shared, local = (ridge * torch.eye(self.gram.shape[1]) for ridge in self.ridges)
        common = torch.linalg.solve(self.gram.sum(0) + shared, self.sums.sum(0))
        own = torch.linalg.solve(self.gram + local, self.sums - self.gram @ common)
        return (common + own) @ self.features.T


def features(table: Tensor) -> Tensor:
    """Return (V, d + 1) what a regression knows of every token: its normalised embedding (V, d), and a one."""
    return F.pad(F.layer_norm(table, table.shape[1:]), (0, 1), value=1.0)
