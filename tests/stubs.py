"""Attacks for tests: one that works on a tiny model's first layer, and some that misbehave on purpose."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from unmask.attack import Reconstruction
from unmask.observation import Observation


@dataclass(frozen=True, kw_only=True)
class TableSpan:
    """For each position the token whose first-layer input lies nearest to the row space of what is seen."""

    name: ClassVar[str] = "stub"
    source: ClassVar[str] = "none"
    tolerance: float = 1e-4

    def run(self, observation: Observation, generator: torch.Generator) -> Iterator[Reconstruction]:
        place = observation.places[0]
        table = observation.model.input_table(place)
        if table is None:
            yield Reconstruction(tokens=(), loss=float("inf"), note="no closed form of the input", done=True)
            return
        gradient = observation.tensors[place.name].double()
        _, values, rows = torch.linalg.svd(gradient, full_matrices=False)
        basis = rows[: int((values > self.tolerance * values[0]).sum())]
        vocabulary = observation.model.vocabulary
        tokens, worst = [], 0.0
        for position in range(len(basis)):
            x = table.rows(torch.arange(vocabulary.size), torch.tensor(position)).double()
            distance = (x - x @ basis.T @ basis).norm(dim=1) / x.norm(dim=1)
            tokens.append(int(distance.argmin()))
            worst = max(worst, float(distance.min()))
        ids = torch.tensor([tokens])
        yield Reconstruction(tokens=(tuple(tokens),), loss=worst, note="span")
        residuals = {}
        for label in range(observation.model.classes or 1):
            targets = ids if observation.model.classes is None else torch.tensor([label])
            found = observation.model.gradients(ids, targets, observation.places)
            residuals[label] = float((found[place.name][0].double() - gradient).norm() / gradient.norm())
        yield Reconstruction(tokens=(tuple(tokens),), loss=worst, residual=min(residuals.values()), done=True)


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """Yields guesses with the given losses; guess `i` is the token `4 + i`, repeated."""

    name: ClassVar[str] = "scripted"
    source: ClassVar[str] = "none"
    losses: tuple[float, ...] = (1.0,)
    residual: float | None = None
    absent: bool = False
    done_at: int | None = None
    wait: float = 0.0
    log: list[int] = field(default_factory=list, compare=False)

    def run(self, observation: Observation, generator: torch.Generator) -> Iterator[Reconstruction]:
        for index, loss in enumerate(self.losses):
            self.log.append(index)
            time.sleep(self.wait)
            yield Reconstruction(
                tokens=((4 + index,) * 3,),
                loss=loss,
                residual=self.residual,
                absent=self.absent,
                note="a reason" if self.absent else "",
                done=index == self.done_at,
            )


@dataclass(frozen=True, kw_only=True)
class Silent:
    """Does not apply to anything."""

    name: ClassVar[str] = "silent"
    source: ClassVar[str] = "none"

    def run(self, observation: Observation, generator: torch.Generator) -> Iterator[Reconstruction]:
        yield from ()


@dataclass(frozen=True, kw_only=True)
class Interrupting:
    """Behaves like `TableSpan`, until the user stops it in its third run."""

    name: ClassVar[str] = "stub"
    source: ClassVar[str] = "none"
    tolerance: float = 1e-4
    runs: list[int] = field(default_factory=list, compare=False)

    def run(self, observation: Observation, generator: torch.Generator) -> Iterator[Reconstruction]:
        self.runs.append(1)
        if len(self.runs) == 3:
            raise KeyboardInterrupt
        yield from TableSpan(tolerance=self.tolerance).run(observation, generator)
