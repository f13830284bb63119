"""How far a true guess's replay may be from what was seen: measured, not set."""

from typing import Any

from unmask.attack import Reconstruction
from unmask.auditor.subject import Subject
from unmask.errors import BadInput
from unmask.observation import Seen
from unmask.rng import generator
from unmask.surface import Surface

DECOYS = 4
MARGIN = 10.0
FLOOR = 1e-6
"""Ten units in the last place of float32: small models often replay bit by bit, on one machine."""
CEILING = 1e-3
"""Above this a replay agrees with more than one guess, whatever the decoys say."""


def threshold(subject: Subject, surface: Surface[Any, Seen], guess: Reconstruction, seed: int) -> float:
    """Return the largest relative residual that rounding alone explains.

    Random secrets of the guess's form go both ways: through the victim's computation and through
    the adversary's replay. The threshold is ten times the largest `||replay - seen|| / ||seen||` of
    four such pairs, at least 1e-6 and at most 1e-3. It uses nothing that the adversary does not have.

    Args:
        subject: whose model is meant; none of its secrets is used.
        surface: what is seen.
        guess: what was recovered, of which only the form matters.
        seed: the run's seed.
    """
    worst = 0.0
    for index in range(DECOYS):
        decoy = subject.decoy(guess, generator(seed, "decoy", index))
        try:
            worst = max(worst, surface.rounding(subject.victim(decoy)))
        except BadInput:
            return 0.0  # a decoy that leaves no trace here measures nothing
    return min(max(MARGIN * worst, FLOOR), CEILING)
