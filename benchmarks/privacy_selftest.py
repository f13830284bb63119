"""The self-test of private training on MiniLM: correct steps pass, broken ones are caught."""

import time
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.harness import threads
from benchmarks.privacy_accounting import row
from benchmarks.rows import Row
from tests.references.broken_steps import FrozenNoise, Mixed, Seeded, breaking, shuffled
from unmask import api
from unmask.defences.training.draws import poisson
from unmask.defences.training.plan import Privacy, Training
from unmask.defences.training.self_test import self_test

TRAIN, RECORDS, REPEATS = "5.*+head", 1000, 10
TRAINING = Training(batch=100, epochs=1, train=TRAIN)
PRIVACY = Privacy(noise=1.0, clip=1.0, delta=1e-4)


def rows() -> list[Row]:
    """Return one row of correct self-tests and one for each way to break a step or its draws."""
    warnings.simplefilter("ignore")
    threads()
    model = api.subject(None).model
    made = partial(breaking, model, train=TRAIN)
    broken: Mapping[str, Mapping[str, Any]] = {
        "noise halved": {"make": made(noise=0.5)},
        "clipping off": {"make": made(clip=1e6, noise=1e-6)},
        "clipping norm doubled": {"make": made(clip=2.0, noise=0.5)},
        "the same noise in every step": {"make": made(Seeded)},
        "one parameter without noise": {"make": made(FrozenNoise)},
        "examples mixed before clipping": {"make": made(Mixed)},
        "weights that do not move": {"make": made(rate=0.0)},
        "shuffled batches": {"sampler": shuffled},
        "sampling rate 1.3 times the accounted one": {"sampler": lambda n, q, source: poisson(n, 1.3 * q, source)},
    }
    test = partial(self_test, model, TRAINING, PRIVACY, RECORDS)
    began = time.perf_counter()
    wrong = [str(check) for _ in range(REPEATS) for check in test() if not check.passed]
    found = [_row("correct", f"{REPEATS} of {REPEATS} pass", wrong, not wrong, REPEATS, began)]
    for how, change in broken.items():
        began = time.perf_counter()
        caught = [check.name for check in test(**change) if not check.passed]
        found.append(_row(f"broken: {how}", "caught", caught, bool(caught), 1, began))
    return found


def _row(what: str, bar: str, failed: list[str], holds: bool, n: int, began: float) -> Row:
    said = "; ".join(failed) if failed else f"{n} of {n} pass"
    return row(
        f"Self-test of a DP-SGD step on MiniLM, last layer and head, {what}",
        bar,
        f"caught by: {said}" if failed else said,
        holds,
        n,
        time.perf_counter() - began,
        reason="system entropy; random public texts",
    )
