"""The published attacks on the same ordinary trainings: `python -m benchmarks.parameters_published [CASE ...]`.

`python -m benchmarks.parameters_ordinary` has to have measured the case before.
"""

import sys
from functools import partial

from benchmarks import parts
from benchmarks.harness import threads
from benchmarks.parameters_infinite import distances
from benchmarks.parameters_ordinary import CASES, NEAR, attacked, base, lines, trained
from benchmarks.rows import Row
from unmask.attack import Attack
from unmask.attacks.weights.dual_matching import DualMatching
from unmask.attacks.weights.stationarity import Stationarity
from unmask.errors import BadInput
from unmask.weights import WeightsObservation

COMMAND = "python -m benchmarks.parameters_published"
PUBLISHED = {
    "20": (300.0, 300.0),
    "deep": (300.0, 300.0),
    "50": (120.0, 120.0),
    "100": (330.0, 0.0),
    "200": (330.0, 0.0),
}
"""Seconds that each of the two published attacks gets on a case, on the same weights, or 0."""


def published(name: str) -> list[Row]:
    """Return what the published attacks reach on the weights of a case that is logged, and how much longer.

    Raises:
        BadInput: if it is not logged.
    """
    if name not in lines():
        raise BadInput("case", name, "is not logged", f"run: python -m benchmarks.parameters_ordinary {name}")
    victim, *_ = trained(CASES[name])
    known = lines()[name]
    assert victim.secret is not None
    ours = sum(e is not None and e < NEAR for e in known["errors"]) / CASES[name].count
    secret, rows, seconds = victim.secret.pixels.double(), [], known["seconds"]
    attacks: tuple[Attack[WeightsObservation], ...] = (DualMatching(), Stationarity(count=len(secret)))
    for attack, limit in zip(attacks, PUBLISHED[name], strict=True):
        if not limit:
            continue
        found, note, spent = attacked(victim, False, limit, attack)
        # All candidates take part, twice as many as images: this favours them.
        errors = distances(secret, found)
        share = float((errors < NEAR).double().mean())
        shared = {
            "unit": "",
            "n": len(secret),
            "seconds": round(spent, 1),
            "command": COMMAND,
            "reason": f"L2 error: median {float(errors.median()):.2g}, least {float(errors.min()):.2g}; {note}, when "
            f"{limit:g} processor seconds of one thread were over; {attack.source}; closed-neurons on the same "
            f"weights: share {ours:.2g} in {seconds:.1f} s",
        }
        rows.append(
            Row(
                setting=f"{base(CASES[name])}: share of images within L2 {NEAR:g}, {attack.name} as published",
                bar="reported",
                measured=share,
                holds=True,
                control=ours,
                **shared,  # type: ignore[arg-type]
            )
        )
        if isinstance(attack, DualMatching):
            ratio = spent / seconds
            words = f"{ratio:.0f}" if share >= ours else f"more than {ratio:.0f}"
            rows.append(
                Row(
                    setting=f"{base(CASES[name])}: times longer that the published attack takes to the same share",
                    bar=">= 10",
                    measured=words,
                    holds=ratio >= 10,
                    control=None,
                    **(shared | {"unit": "x"}),  # type: ignore[arg-type]
                )
            )
    return rows


PARTS = {name: partial(published, name) for name in PUBLISHED}


if __name__ == "__main__":
    threads()
    sys.exit(parts.run("parameters", PARTS, sys.argv[1:]))
