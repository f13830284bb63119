"""What a run's defences promise, in the words of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unmask.report.folder import Run

NOTHING = "nothing is guaranteed: empirical only"


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One defence with its guarantee.

    Args:
        name: the defence.
        epsilon: epsilon and delta, or that nothing is guaranteed.
        facts: the other parts, name to words; empty if nothing is guaranteed.
        note: what makes it void, or empty.
    """

    name: str
    epsilon: str
    facts: Mapping[str, str]
    note: str


def promises(run: Run) -> tuple[Promise, ...]:
    """Return the guarantees of a run: of the defended release first, then of the training of the model.

    Args:
        run: the run.
    """
    found = [_promise(str(each.get("name", "defence")), each) for each in run.guarantees]
    defence, guarantee = run.trained.get("defence"), run.trained.get("guarantee")
    if isinstance(guarantee, Mapping) and guarantee.get("epsilon") is not None:
        name = defence.get("name", "defence") if isinstance(defence, Mapping) else "none"
        found.append(_promise(f"{name} (training of the model)", guarantee))
    return tuple(found)


def epsilon(run: Run) -> float | None:
    """Return epsilon of what the attack saw: the least of the defended release, else of the model's training, or None.

    Args:
        run: the run.
    """
    guarantee = run.trained.get("guarantee")
    trained = guarantee.get("epsilon") if isinstance(guarantee, Mapping) else None
    given = [each.get("epsilon") for each in run.guarantees]
    numbers = [float(one) for one in given if isinstance(one, int | float)]
    return min(numbers, default=float(trained) if isinstance(trained, int | float) else None)


def _promise(name: str, each: Mapping[str, object]) -> Promise:
    if each.get("epsilon") is None:
        return Promise(name=name, epsilon=str(each.get("security") or NOTHING), facts={}, note="")
    note = ""
    if each.get("void"):
        note = (
            "Void in this run: its noise was drawn from a seed, so that the run can be repeated, and whoever has the "
            "seed subtracts it. The numbers hold for the same mechanism with fresh randomness."
        )
    names: Sequence[tuple[str, str]] = (
        ("unit", "Protects"),
        ("neighbours", "Must look alike"),
        ("scope", "Covers"),
        ("accountant", "Accountant"),
        ("status", "Status"),
        ("arithmetic", "Arithmetic"),
    )
    arithmetic = {
        "real": "real numbers: the sampler of floats is not exact, publish few digits",
        "exact": "exact: integers on a grid, nothing is lost to floats",
        "whole-number": "integers from clipping to release; a gradient is a float, whose last bits may depend on the "
        "examples computed beside it (exact with --physical-batch 1)",
    }
    facts = {word: str(each[key]) for key, word in names if each.get(key)}
    if "Arithmetic" in facts:
        facts["Arithmetic"] = arithmetic.get(facts["Arithmetic"], facts["Arithmetic"])
    return Promise(
        name=name, epsilon=f"epsilon {_short(each['epsilon'])}, delta {_short(each['delta'])}", facts=facts, note=note
    )


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)
