"""One attack on one observation: the guess with the lowest loss, within a time limit."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from unmask.attack import Attack, Reconstruction
from unmask.observation import Seen


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """How one attack ended.

    Args:
        best: the guess with the attack's lowest loss, or None if there was none.
        absent: why the attack says that the observation lacks the information, or None.
        expired: whether the time limit ended it.
        seconds: time by the clock, wall-clock time unless another was given.
    """

    best: Reconstruction | None
    absent: str | None
    expired: bool
    seconds: float


def attempt(
    attack: Attack[Any],
    observation: Seen,
    generator: torch.Generator,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Attempt:
    """Run an attack until it is done, has nothing more to say, or the time is up.

    Guesses are chosen by the attack's own loss; of equal ones the later. The time limit takes hold
    between two guesses.

    Args:
        attack: the attack.
        observation: all it gets.
        generator: its randomness.
        seconds: time limit.
        clock: what tells the time; `time.process_time` leaves out what other work on the machine takes.
    """
    began = clock()
    best: Reconstruction | None = None
    absent: str | None = None
    expired = False
    for guess in attack.run(observation, generator):
        if best is None or _loss(guess) <= _loss(best):
            best = guess
        if guess.absent:
            absent = guess.note or "what was seen does not depend on the rest of the input"
        if guess.done:
            break
        if clock() - began >= seconds:
            expired = True
            break
    return Attempt(best=best, absent=absent, expired=expired, seconds=clock() - began)


def _loss(guess: Reconstruction) -> float:
    return math.inf if math.isnan(guess.loss) else guess.loss
