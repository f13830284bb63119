"""What every program here shares: real sentences, one attack on one observation, and its scores."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.rows import Row
from unmask.attack import Attack
from unmask.auditor.attempt import attempt
from unmask.metrics.tokens import FUNCTION_WORDS, score, trivial_guess
from unmask.rng import generator
from unmask.surface import Release, Surface
from unmask.surfaces.gradient import GradientSurface
from unmask.victim import Secret, Victim
from unmask.victims import demo, hf
from unmask.victims.corpora import Example, from_parquet
from unmask.victims.mechanism import TorchMechanism
from unmask.victims.secrets import secrets

PLAIN = Release()
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = ("cola", "sst2-sentences", "rotten-tomatoes")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One attack on one batch, scored after it ended."""

    scores: dict[str, float]
    null: dict[str, float]
    trivial: dict[str, float]
    seconds: float
    residual: float | None
    absent: bool
    tokens: int
    note: str


class Bench:
    """A loaded model and the batches to attack.

    Args:
        folder: model folder, or None for the embedded MiniLM.
        examples: sentences.
        batch: sequences per batch.
        count: how many of the examples to take, or None for all.
        longest: pass over examples of more tokens, or None.
    """

    def __init__(
        self,
        folder: str | None,
        examples: Sequence[Example],
        *,
        batch: int = 1,
        count: int | None = None,
        longest: int | None = None,
    ) -> None:
        self.loaded = hf.load(folder or str(demo.directory()))
        self.model = self.loaded.model
        if longest is not None:
            examples = [e for e in examples if len(self.loaded.encode(e.text)) <= longest]
        examples = examples[:count]
        self.secrets = secrets(examples, self.model, self.loaded.encode, batch=batch)

    def run(
        self,
        index: int,
        select: str,
        attack: Attack[Any],
        seconds: float,
        release: Release = PLAIN,
        surface: Surface[Any, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Run:
        """Attack batch `index` as seen through a surface.

        By default through `select` of the gradient, labels and lengths known as in the published setting.
        """
        secret = self.secrets[index]
        victim = Victim(model=self.model, mechanism=TorchMechanism(model=self.model), secret=secret)
        seen = surface or GradientSurface(select=select, knows_labels=True, knows_lengths=True, release=release)
        observation = seen.observe(victim, generator(0, "victim", select, index))
        chance = generator(0, attack.name, select, index)
        ended = attempt(attack, observation, chance, seconds=seconds, clock=clock)
        guess = ended.best
        tokens = guess.tokens if guess else ()
        bag = guess.bag if guess else ()
        others = [s for k, s in enumerate(self.secrets) if k != index][:8] or [secret]
        return Run(
            scores=self._score(secret, tokens, bag),
            null=_mean([self._score(other, tokens, bag) for other in others]),
            trivial=self._score(secret, self._trivial(secret), ()),
            seconds=ended.seconds,
            residual=guess.residual if guess else None,
            absent=ended.absent is not None,
            tokens=sum(secret.lengths),
            note=guess.note if guess else "",
        )

    def _score(self, secret: Secret, guess: Sequence[Sequence[int]], bag: Sequence[int]) -> dict[str, float]:
        special = self.model.vocabulary.special
        return score(secret.sequences, guess, self.model.decode, special, bag)[0]

    def _trivial(self, secret: Secret) -> tuple[tuple[int, ...], ...]:
        special = self.model.vocabulary.special
        common = [i for i in self.loaded.encode(" ".join(FUNCTION_WORDS)) if i not in special]
        return trivial_guess([sum(i not in special for i in s) for s in secret.sequences], common)


def _mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.fmean(s[key] for s in scores) for key in scores[0]}


def mean(runs: Sequence[Run], key: str, which: str = "scores") -> float:
    """Return the mean of one score over runs."""
    return statistics.fmean(getattr(run, which)[key] for run in runs)


def score_row(setting: str, key: str, bar: float, runs: Sequence[Run], *, reason: str, command: str) -> Row:
    """Return the row of one mean score over runs beside its null control; `bar` is the least that holds."""
    measured = mean(runs, key)
    return Row(
        setting=setting,
        bar=f">= {bar:.2f}",
        measured=round(measured, 4),
        unit="",
        holds=measured >= bar,
        control=round(mean(runs, key, "null"), 4),
        n=len(runs),
        seconds=round(sum(run.seconds for run in runs), 1),
        command=command,
        reason=reason,
    )


def sentences(count: int, seed: int = 0) -> list[Example]:
    """Return `count` real sentences, taking turns among CoLA, SST-2 and Rotten Tomatoes."""
    columns = [from_parquet(DATA / name / "train.parquet", -(-count // len(SETS)), seed) for name in SETS]
    return [example for row in zip(*columns, strict=True) for example in row][:count]


def threads(count: int = 1) -> None:
    """Use so many threads, so that seconds mean the same on a machine that does other work."""
    torch.set_num_threads(count)
