"""What an attack says of a gradient in which nothing rises above noise and rounding."""

from unmask.attack import Reconstruction
from unmask.observation import Observation


def unseen(observation: Observation, note: str) -> Reconstruction:
    """Return that nothing is there, or behind noise, rounding or clipping an empty guess.

    An exact gradient that shows nothing holds nothing. Noise hides and does not remove: an adversary who has the
    text on a list may still name it, so an empty guess is all that may be said.

    Args:
        observation: what was seen.
        note: why nothing was found.
    """
    if observation.knowledge.exact:
        return Reconstruction(tokens=(), loss=float("inf"), note=note, absent=True, done=True)
    # The empty guess explains nothing: its relative residual is one.
    return Reconstruction(tokens=(), loss=1.0, note=note, done=True)
