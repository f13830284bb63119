"""One run: observe, attack, judge, and put it into a record."""

import math
from collections.abc import Sequence

from unmask import settings
from unmask.attack import Reconstruction
from unmask.auditor import folder
from unmask.auditor.attempt import Attempt, attempt
from unmask.auditor.certificate import threshold
from unmask.auditor.plan import Job, Plan
from unmask.auditor.scoring import judge
from unmask.errors import NoSignal
from unmask.observation import Observation
from unmask.record import Outcome, Record
from unmask.rng import generator
from unmask.surface import Scenario
from unmask.victim import Secret, Victim

CONTROLS = 8
"""At most this many other secrets make up a null control."""

SILENT = "every number that was seen is zero"
"""Reason of a record whose cell gave nothing at all."""


def single(plan: Plan, job: Job, key: str, seconds: float) -> Record:
    """Carry out one run.

    Args:
        plan: the audit.
        job: the run.
        key: the record's key.
        seconds: time limit of the attack.

    Raises:
        BadInput: if the observation cannot be made.
        NoSignal: if everything seen is zero and the plan has no other cell.
    """
    secret = plan.items[job.item]
    victim = Victim(model=plan.model, mechanism=plan.mechanism, secret=secret)
    where = (job.cell.cell.layer, job.cell.cell.component, job.item)
    try:
        # Named without the attack: every attack on a cell sees the same draw of noise and dropout.
        seen = Scenario(victim=victim, surface=job.cell.surface).observe(generator(plan.seed, "observe", *where))
    except NoSignal:
        if len(plan.cells) == 1:
            raise
        return _record(plan, job, key, None, None, Outcome.ABSENT, SILENT)
    draw = generator(plan.seed, "attack", job.role.attack.name, *where)
    ended = attempt(job.role.attack, seen, draw, seconds=seconds)
    outcome, reason = _outcome(plan, job, victim, seen, ended, seconds)
    return _record(plan, job, key, seen, ended, outcome, reason)


def _outcome(
    plan: Plan, job: Job, victim: Victim, seen: Observation, ended: Attempt, limit: float
) -> tuple[Outcome, str]:
    best = ended.best
    if ended.absent is not None:
        return Outcome.ABSENT, ended.absent
    if best is None or (not ended.expired and _empty(best)):
        note = best.note if best is not None and best.note else "it returned no guess"
        return (Outcome.EXHAUSTED if ended.expired else Outcome.SKIPPED), note
    if best.residual is not None and best.tokens and seen.knowledge.exact:
        bound = threshold(victim, job.cell.surface, best.tokens, plan.seed)
        if best.residual <= bound:
            return Outcome.CERTIFIED, f"residual {best.residual:.1e}, rounding explains up to {bound:.1e}"
    note = f": {best.note}" if best.note else ""
    if ended.expired:
        return Outcome.EXHAUSTED, f"stopped after {limit:.0f} s{note}"
    return Outcome.APPROXIMATE, best.note or "the replay does not match to rounding"


def _empty(guess: Reconstruction) -> bool:
    return not any(guess.tokens) and not guess.bag and math.isinf(guess.loss)


def _record(
    plan: Plan, job: Job, key: str, seen: Observation | None, ended: Attempt | None, outcome: Outcome, reason: str
) -> Record:
    secret = plan.items[job.item]
    scored = outcome is not Outcome.SKIPPED and seen is not None
    verdict = judge(
        plan.model,
        secret,
        None if ended is None else ended.best,
        others=_others(plan, job.item),
        common=plan.guess,
        show=plan.show_private,
    )
    best = None if ended is None else ended.best
    return Record(
        key=key,
        model=plan.model.name,
        surface={"name": job.cell.surface.name, **settings.to_json(job.cell.surface)},
        attack=job.role.described(),
        cell=job.cell.cell,
        item=_item(job.item, secret, best),
        knowledge=() if seen is None else sentences(seen),
        outcome=outcome,
        reason=reason,
        texts=verdict.texts,
        scores=verdict.scores if scored else {},
        null=verdict.null if scored else {},
        trivial=verdict.trivial if scored else {},
        certificate=None if best is None else best.residual,
        seconds=0.0 if ended is None else ended.seconds,
        seed=plan.seed,
        versions=folder.versions(),
    )


def _item(index: int, secret: Secret | None, guess: Reconstruction | None) -> dict[str, int]:
    if secret is None:
        guessed = () if guess is None else guess.tokens
        return {"index": index, "size": max(1, len(guessed)), "tokens": sum(map(len, guessed))}
    return {"index": index, "size": secret.size, "tokens": sum(secret.lengths)}


def _others(plan: Plan, item: int) -> Sequence[Secret]:
    own = plan.items[item]
    if own is None:
        return ()
    known = [secret for secret in (*plan.items[item + 1 :], *plan.items[:item]) if secret is not None]
    apart = [secret for secret in known if not set(secret.sequences) & set(own.sequences)]
    return (apart or [secret for secret in plan.controls if not set(secret.sequences) & set(own.sequences)])[:CONTROLS]


def sentences(seen: Observation) -> tuple[str, ...]:
    """Return the threat model of an observation, one sentence per fact.

    Args:
        seen: what the adversary has.
    """
    facts = seen.knowledge.sentences()
    if seen.model.classes is not None:
        return facts
    # Next-token prediction has no label beside the text.
    return tuple("The targets of the loss are the texts themselves." if "Labels" in fact else fact for fact in facts)
