"""Epsilon by two libraries: the guarantee's accountant against Opacus' own."""

import warnings

from unmask.defences.training.check import Check
from unmask.defences.training.plan import Privacy, Training
from unmask.defences.training.step import opacus
from unmask.privacy import accountant

ERROR, AGREE = 1e-3, 3e-3
"""Error that Opacus' PRV accountant is asked for, and how far the two may be apart; relative above one."""


def accounted(training: Training, privacy: Privacy, records: int) -> Check:
    """Return the check of epsilon by privacy loss distributions against Opacus' PRV and RDP accountants.

    PRV is to be equal but for both discretisations. RDP is an upper bound, and alone decides where PRV's grid fails.

    Args:
        training: gives rate and steps.
        privacy: noise and delta.
        records: number of training examples.

    Raises:
        MissingExtra: if Opacus or dp-accounting is not installed.
    """
    rate, steps = training.rate(records), training.steps(records)
    name = "epsilon by PLD against Opacus' accountants"
    if privacy.noise < accountant.LEAST:
        return Check(name=name, passed=True, measured="not compared: bounded without sampling", expected="a bound")
    ours = accountant.epsilon_of(privacy.noise, rate, steps, privacy.delta)
    library = opacus("opacus.accountants")
    prv, rdp = library.PRVAccountant(), library.RDPAccountant()
    prv.history = rdp.history = [(privacy.noise, rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loose = float(rdp.get_epsilon(delta=privacy.delta))
        try:
            theirs = float(prv.get_epsilon(privacy.delta, eps_error=ERROR))
        except (RuntimeError, ValueError, MemoryError):
            theirs = None
    fits = theirs is None or abs(ours - theirs) <= AGREE * max(1.0, ours)
    return Check(
        name=name,
        passed=fits and ours <= loose + AGREE,
        measured=f"{ours:.4f}; PRV {'failed' if theirs is None else f'{theirs:.4f}'}, RDP {loose:.4f}",
        expected=f"PRV within {AGREE:g}, RDP no less",
    )
