"""`unmask account`: what noise promises, and how much of it a promise needs."""

from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from unmask.cli import console, options
from unmask.errors import BadInput
from unmask.privacy import accountant, checks
from unmask.privacy.claim import Claim
from unmask.privacy.mechanisms.attention_release import AttentionRelease
from unmask.privacy.words import in_words

T = TypeVar("T")


class Mechanism(StrEnum):
    """What is accounted for."""

    DP_SGD = "dp-sgd"
    DP_ATTENTION = "dp-attention"


def command(
    mechanism: Annotated[Mechanism, typer.Argument(help="dp-sgd, or dp-attention: the published attention release.")],
    epsilon: Annotated[float | None, typer.Option(help="Find the noise, or the ridge, for this epsilon.")] = None,
    delta: Annotated[float, typer.Option(help="Delta of the claim.")] = 1e-5,
    noise: Annotated[float | None, typer.Option(help="dp-sgd: noise deviation over the clipping norm.")] = None,
    rate: Annotated[float | None, typer.Option(help="dp-sgd: expected batch over number of examples.")] = None,
    steps: Annotated[int | None, typer.Option(help="dp-sgd: number of steps.")] = None,
    records: Annotated[int | None, typer.Option(help="dp-sgd: training examples, to check delta against.")] = None,
    radius: Annotated[float | None, typer.Option(help="dp-attention: move of one token that is hidden.")] = None,
    ridge: Annotated[float | None, typer.Option(help="dp-attention: public ridge on the Gram matrix.")] = None,
    draws: Annotated[int, typer.Option(help="dp-attention: number of Gaussian draws.")] = 1024,
    prior: Annotated[float, typer.Option(help="Chance of the attacker's best blind guess.")] = 0.01,
    json: options.Json = False,
) -> None:
    """Say what epsilon a mechanism has, or what a given epsilon needs, and what it means in words."""
    checks.probability("--prior", prior)
    if mechanism is Mechanism.DP_SGD:
        facts, claim = _dp_sgd(epsilon, delta, noise, _given("--rate", rate), _given("--steps", steps), records)
    else:
        facts, claim = _dp_attention(epsilon, delta, _given("--radius", radius), ridge, draws)
    sentences = in_words(claim, prior=prior)
    if json:
        console.emit({"mechanism": mechanism.value, **facts, "claim": asdict(claim), "in_words": list(sentences)})
        return
    for name, value in facts.items():
        print(f"{name.replace('_', ' ')}: {value:g}")
    print(claim)
    for sentence in sentences:
        print(f"  {sentence}")


def _dp_sgd(
    epsilon: float | None, delta: float, noise: float | None, rate: float, steps: int, records: int | None
) -> tuple[dict[str, float], Claim]:
    if epsilon is not None:
        checks.budget(epsilon, delta, records=records)
    solved = _one_of(
        ("--epsilon", epsilon, lambda given: accountant.noise_for(given, delta, rate, steps, records=records)),
        ("--noise", noise, lambda given: given),
    )
    return {"noise_multiplier": solved}, accountant.claim(solved, rate, steps, delta)


def _dp_attention(
    epsilon: float | None, delta: float, radius: float, ridge: float | None, draws: int
) -> tuple[dict[str, float], Claim]:
    def calibrated(given: float) -> float:
        return AttentionRelease.calibrated(epsilon=given, delta=delta, radius=radius, draws=draws).eta

    solved = _one_of(("--epsilon", epsilon, calibrated), ("--ridge", ridge, lambda given: given))
    release = AttentionRelease(radius=radius, ridge=solved, draws=draws, delta=delta)
    return {"ridge": solved, "draws": draws}, release.guarantee()


def _one_of(*ways: tuple[str, float | None, Callable[[float], float]]) -> float:
    given = [(name, value, solve) for name, value, solve in ways if value is not None]
    if len(given) != 1:
        names = " or ".join(name for name, _, _ in ways)
        shown = ", ".join(name for name, _, _ in given) or "nothing"
        raise BadInput(names, shown, "has to be exactly one of them", "give the one, and the other is found")
    _, value, solve = given[0]
    return solve(value)


def _given(argument: str, value: T | None) -> T:
    if value is None:
        raise BadInput(argument, "nothing", "is needed for this mechanism", "see unmask account --help")
    return value
