"""One run: observe, attack, judge, and put it into a record."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unmask import settings, storage
from unmask.attack import Reconstruction
from unmask.auditor import folder
from unmask.auditor.attempt import Attempt, attempt
from unmask.auditor.certificate import threshold
from unmask.auditor.plan import Job, Plan
from unmask.auditor.subject import Verdict
from unmask.errors import NoSignal
from unmask.observation import Observation, Seen
from unmask.record import Outcome, Picture, Record
from unmask.rng import generator
from unmask.surface import Scenario

CONTROLS = 8
"""At most this many other secrets make up a null control."""

SILENT = "every number that was seen is zero"
"""Reason of a record whose cell gave nothing at all."""


def single(plan: Plan, job: Job, key: str, seconds: float, out: Path) -> Record:
    """Carry out one run.

    Args:
        plan: the audit.
        job: the run.
        key: the record's key.
        seconds: time limit of the attack.
        out: the run's folder, in which pictures are written.

    Raises:
        BadInput: if the observation cannot be made.
        NoSignal: if everything seen is zero and the plan has no other cell.
    """
    victim = plan.subject.victim(plan.items[job.item])
    where = (job.cell.cell.layer, job.cell.cell.component, job.item)
    try:
        # Named without the attack: every attack on a cell sees the same draw of noise and dropout.
        seen = Scenario(victim=victim, surface=job.cell.surface).observe(generator(plan.seed, "observe", *where))
    except NoSignal:
        if len(plan.cells) == 1:
            raise
        return _record(plan, job, key, out, None, None, Outcome.ABSENT, SILENT)
    draw = generator(plan.seed, "attack", job.role.attack.name, *where)
    ended = attempt(job.role.attack, seen, draw, seconds=seconds)
    outcome, reason = _outcome(plan, job, seen, ended, seconds)
    return _record(plan, job, key, out, seen, ended, outcome, reason)


def _outcome(plan: Plan, job: Job, seen: Seen, ended: Attempt, limit: float) -> tuple[Outcome, str]:
    best = ended.best
    if ended.absent is not None:
        return Outcome.ABSENT, ended.absent
    if best is None or (not ended.expired and _empty(best)):
        note = best.note if best is not None and best.note else "it returned no guess"
        return (Outcome.EXHAUSTED if ended.expired else Outcome.SKIPPED), note
    if best.residual is not None and not _blank(best) and seen.knowledge.exact:
        bound = threshold(plan.subject, job.cell.surface, best, plan.seed)
        if best.residual <= bound:
            return Outcome.CERTIFIED, f"residual {best.residual:.1e}, rounding explains up to {bound:.1e}"
    note = f": {best.note}" if best.note else ""
    if ended.expired:
        return Outcome.EXHAUSTED, f"stopped after {limit:.0f} s{note}"
    return Outcome.APPROXIMATE, best.note or "the replay does not match to rounding"


def _blank(guess: Reconstruction) -> bool:
    return not guess.tokens and guess.images is None


def _empty(guess: Reconstruction) -> bool:
    return not any(guess.tokens) and guess.images is None and not guess.bag and math.isinf(guess.loss)


def _record(
    plan: Plan,
    job: Job,
    key: str,
    out: Path,
    seen: Seen | None,
    ended: Attempt | None,
    outcome: Outcome,
    reason: str,
) -> Record:
    secret = plan.items[job.item]
    scored = outcome is not Outcome.SKIPPED and seen is not None
    best = None if ended is None else ended.best
    verdict = plan.subject.judge(secret, best, others=_others(plan, job.item), show=plan.show_private)
    pictures = _written(verdict, out, key) if scored else ()
    return Record(
        key=key,
        model=plan.subject.name,
        surface={"name": job.cell.surface.name, **settings.to_json(job.cell.surface)},
        attack=job.role.described(),
        cell=job.cell.cell,
        item={"index": job.item, **plan.subject.item(secret, best)},
        knowledge=() if seen is None else sentences(seen),
        outcome=outcome,
        reason=reason,
        texts=verdict.texts,
        scores=verdict.scores if scored else {},
        null=verdict.null if scored else {},
        trivial=verdict.trivial if scored else {},
        measures=verdict.measures if scored else {},
        pictures=pictures,
        certificate=None if best is None else best.residual,
        seconds=0.0 if ended is None else ended.seconds,
        seed=plan.seed,
        versions=folder.versions(),
        artefacts=tuple(path for picture in pictures for path in (picture.secret, picture.recovered) if path),
    )


def _written(verdict: Verdict, out: Path, key: str) -> tuple[Picture, ...]:
    """Write the pictures of a verdict into the run's folder and return where they are."""
    found = []
    for index, pair in enumerate(verdict.pictures):
        paths = []
        for kind, content in zip(("secret", "recovered"), pair, strict=True):
            path = f"pictures/{key}-{index}-{kind}.png" if content else ""
            if content:
                storage.replace_bytes(out / path, content)
            paths.append(path)
        found.append(Picture(secret=paths[0], recovered=paths[1]))
    return tuple(found)


def _others(plan: Plan, item: int) -> Sequence[Any]:
    own = plan.items[item]
    if own is None:
        return ()
    known = [secret for secret in (*plan.items[item + 1 :], *plan.items[:item]) if secret is not None]
    apart = [secret for secret in known if not plan.subject.alike(secret, own)]
    return (apart or [secret for secret in plan.controls if not plan.subject.alike(secret, own)])[:CONTROLS]


def sentences(seen: Seen) -> tuple[str, ...]:
    """Return the threat model of an observation, one sentence per fact.

    Args:
        seen: what the adversary has.
    """
    facts = seen.knowledge.sentences()
    if not isinstance(seen, Observation) or seen.model.classes is not None:
        return facts
    # Next-token prediction has no label beside the text.
    return tuple("The targets of the loss are the texts themselves." if "Labels" in fact else fact for fact in facts)
