"""Private fine-tuning of MiniLM on Rotten Tomatoes: what it costs, and what its released gradients give away."""

import json
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from torch import nn

from benchmarks import privacy_tail
from benchmarks.harness import DATA, Bench, Run, mean, threads
from benchmarks.privacy_accounting import row
from benchmarks.rows import RESULTS, Row
from unmask.attack import Attack
from unmask.attacks.matching.matching import tag
from unmask.attacks.matching.soft_span import SoftSpan
from unmask.attacks.span import SpanSearch
from unmask.defences.training.loop import train
from unmask.defences.training.plan import Privacy, Training
from unmask.defences.training.self_test import self_test
from unmask.defences.training.utility import utility
from unmask.privacy import accountant, gaussian
from unmask.surface import Surface
from unmask.surfaces.dp_gradient import DpGradientSurface
from unmask.surfaces.gradient import GradientSurface
from unmask.victim import Secret
from unmask.victims.corpora import from_parquet
from unmask.victims.hf import wrap
from unmask.victims.secrets import secrets

COMMAND = "make bench TOPIC=privacy ARGS=training"
LOG = RESULTS / "privacy-training.jsonl"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "unmask" / "privacy-training"
TEST, CLIP, DELTA = 1066, 1.0, 1e-4
EPSILONS = (8.0, 1.0, 3.0)
SIGMAS = (0.001, 0.01, 0.1, 1.0, 10.0)
TEXTS, LONGEST, SECONDS = 2, 24, 12.0
TRAINING_NAME, HELD_NAME = "rotten-tomatoes-train", "rotten-tomatoes-validation"
RELEASED, BEFORE = "released", "pre-noise"
TRAINING, HELD = (DATA / "rotten-tomatoes" / f"{part}.parquet" for part in ("train", "validation"))

Line = dict[str, Any]
Job = tuple[str, float | None, float | None]
"""Setting, epsilon, sigma."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Which parameters are trained, for how long, and the one cell of the released gradient that is attacked.

    `tail` names the same parameters in `privacy_tail`, whose stored readings make a step cheap enough for all texts.
    """

    train: str
    words: str
    records: int
    batch: int
    epochs: float
    plain: float
    private: float
    cell: str
    repeats: int = 1
    tail: str = ""
    seconds: float = SECONDS


SETTINGS = {
    "value": Setting(
        train="5.value+re:^classifier",
        words="value map of the last layer and classifier (148,226 parameters)",
        records=8528,
        batch=1000,
        epochs=3,
        plain=2e-3,
        private=2e-3,
        cell="5.value",
        tail=r"re:value\.weight|classifier",
        seconds=8.0,
    ),
    "classifier": Setting(
        train="re:^classifier",
        words="classifier alone (770 parameters)",
        records=3000,
        batch=500,
        epochs=3,
        plain=2e-2,
        private=2e-2,
        cell="",
        repeats=3,
    ),
    "last": Setting(
        train="5.*+head",
        words="last layer, pooler and classifier (1.9 million parameters)",
        records=1500,
        batch=500,
        epochs=2,
        plain=1e-3,
        private=1e-3,
        cell="5.value",
    ),
}


def jobs() -> list[Job]:
    """Return (setting, epsilon, sigma) of every training, the most wanted first; None and None for no privacy."""
    found: list[Job] = []
    for name in SETTINGS:
        found += [(name, None, None), *((name, epsilon, None) for epsilon in EPSILONS)]
    found += [("classifier", None, sigma) for sigma in SIGMAS]
    return found


def measure(most: float = float("inf")) -> bool:
    """Append one line a training and one an attack; lines that exist are not measured again.

    Args:
        most: stop after so many seconds, between two jobs.

    Returns:
        Whether nothing is left.
    """
    warnings.simplefilter("ignore")  # Opacus' hooks of frozen inputs
    threads()
    began = time.monotonic()
    bench = Bench(None, from_parquet(TRAINING, max(setting.records for setting in SETTINGS.values())))
    held = secrets(from_parquet(HELD, TEST), bench.model, bench.loaded.encode, batch=1)
    for job in jobs():
        setting, training, privacy = planned(*job)
        folder = CACHE / "-".join(map(str, job))
        done = sum(line["kind"] == "training" and line["job"] == list(job) for line in lines())
        # Noise makes private runs differ; the others are measured once.
        for repeat in range(done, setting.repeats if job[1] is not None else 1):
            again = folder if repeat == 0 else folder.with_name(f"{folder.name}-{repeat}")
            _trained(bench, job, training, privacy, held, again)
            if time.monotonic() - began > most:
                return False
    for job in jobs():
        setting, training, privacy = planned(*job)
        own, folder = bench.secrets[: setting.records], CACHE / "-".join(map(str, job))
        if setting.cell and not _attacked(bench, job, training, privacy, own, folder, began + most):
            return False
    return True


def _trained(
    bench: Bench, job: Job, training: Training, privacy: Privacy | None, held: Sequence[Secret], folder: Path
) -> None:
    began, own = time.perf_counter(), bench.secrets[: SETTINGS[job[0]].records]
    tail = SETTINGS[job[0]].tail
    failed = []
    if privacy is not None:
        tested, how = bench.model, training
        if tail:
            tested, how = privacy_tail.model(bench.loaded, own, TRAINING_NAME)[0], replace(training, train=tail)
        failed = [str(check) for check in self_test(tested, how, privacy, len(own)) if not check.passed]
    module = _module(bench, job, training, privacy, own, folder)
    worth = privacy_tail.utility(bench.loaded, module, held, HELD_NAME) if tail else utility(bench.model, module, held)
    _write(
        job,
        kind="training",
        sigma=0.0 if privacy is None else privacy.noise,
        steps=training.steps(len(own)),
        failed=failed,
        **worth,
        seconds=round(time.perf_counter() - began, 1),
    )


def _module(
    bench: Bench, job: Job, training: Training, privacy: Privacy | None, own: Sequence[Secret], folder: Path
) -> nn.Module:
    """Return the trained module, from its checkpoint where there is one."""
    tail = SETTINGS[job[0]].tail
    if not tail:
        return train(bench.model, own, training, privacy, folder=folder, resume=True, every=20)
    model, numbers = privacy_tail.model(bench.loaded, own, TRAINING_NAME)
    short = replace(training, train=tail, physical=32)
    module = train(model, numbers, short, privacy, folder=folder, resume=True, every=20)
    return privacy_tail.restored(bench.model.module, module)


def planned(name: str, epsilon: float | None, sigma: float | None) -> tuple[Setting, Training, Privacy | None]:
    """Return the setting of a job, its training, and noise and clipping, or None."""
    setting = SETTINGS[name]
    private = epsilon is not None or sigma is not None
    training = Training(
        epochs=setting.epochs,
        batch=setting.batch,
        learning_rate=setting.private if private else setting.plain,
        train=setting.train,
        physical=20,
    )
    if epsilon is not None:
        sigma = next((line["sigma"] for line in lines() if line["job"] == [name, epsilon, None]), None)
        rate, steps = training.rate(setting.records), training.steps(setting.records)
        sigma = sigma or accountant.noise_for(epsilon, DELTA, rate, steps)
    return setting, training, None if sigma is None else Privacy(noise=sigma, clip=CLIP, delta=DELTA)


def _attacked(
    bench: Bench,
    job: Job,
    training: Training,
    privacy: Privacy | None,
    own: Sequence[Secret],
    folder: Path,
    deadline: float,
) -> bool:
    setting = SETTINGS[job[0]]
    done = {(line["attack"], line["index"], line.get("reading", RELEASED)) for line in _attack_lines(job)}
    attacks: tuple[Attack[Any], ...] = (SpanSearch(), SoftSpan(), tag())
    readings = (RELEASED, BEFORE) if setting.tail and privacy is not None else (RELEASED,)
    left = [
        (attack, index, reading)
        for reading in readings
        for attack in attacks
        for index in range(TEXTS)
        if (attack.name, index, reading) not in done
    ]
    if not left:
        return True
    module = _module(bench, job, training, privacy, own, folder)
    against = Bench(None, from_parquet(TRAINING, setting.records), count=TEXTS + 8, longest=LONGEST)
    against.loaded = wrap(cast(Any, module), bench.loaded.tokenizer, name="fine-tuned", causal_lm=False)
    against.model = against.loaded.model
    base = GradientSurface(select=setting.cell, knows_labels=True, knows_lengths=True)
    for attack, index, reading in left:
        if time.monotonic() > deadline:
            return False
        surface: Surface[Any, Any] = base
        if privacy is not None and reading == RELEASED:
            surface = DpGradientSurface(base=base, clip=privacy.clip, noise=privacy.noise, train=setting.train)
        # The processor's seconds: other work on the machine takes none of the attack's.
        clock = time.process_time if setting.tail else time.monotonic
        run = against.run(index, setting.cell, attack, setting.seconds, surface=surface, clock=clock)
        _write(job, kind="attack", attack=attack.name, index=index, reading=reading, **asdict(run))
    return True


def _attack_lines(job: Job) -> list[Line]:
    return [line for line in lines() if line["job"] == list(job) and line["kind"] == "attack"]


def rows() -> list[Row]:
    """Measure what the log lacks, then make one row a training and one row of its attacks."""
    measure()
    found, log = [], lines()
    for job in jobs():
        mine = [one for one in log if one["kind"] == "training" and one["job"] == list(job)]
        if not mine:
            continue
        setting, training, privacy = planned(*job)
        plain = [one for one in log if one["kind"] == "training" and one["job"] == [job[0], None, None]]
        found.append(_utility_row(job, setting, training, privacy, mine, plain))
        for reading in (RELEASED, BEFORE):
            runs = [one for one in _attack_lines(job) if one.get("reading", RELEASED) == reading]
            if runs:
                found.append(_attack_row(job, setting, runs, reading))
    return found


def _utility_row(
    job: Job,
    setting: Setting,
    training: Training,
    privacy: Privacy | None,
    mine: list[Line],
    plain: list[Line],
) -> Row:
    spent = f"{setting.records} of 8,530 training texts, {mine[0]['steps']} steps of {setting.batch} on average"
    how = f"Adam {training.learning_rate:g}; what is not named is frozen"
    failed = [text for line in mine for text in line["failed"]]
    if privacy is not None:
        passed = "the self-test passed" if not failed else f"the self-test failed: {failed}"
        searched = "; no rate or batch was searched for" if setting.tail else ""
        how = f"C = {CLIP:g}, sigma {mine[0]['sigma']:.3g}, {how}{searched}; system entropy; {passed}"
    each = [line["accuracy"] for line in mine]
    spread = f" (runs {', '.join(f'{one:.3f}' for one in each)})" if len(each) > 1 else ""
    correlation = fmean(line["matthews"] for line in mine)
    return row(
        f"MiniLM on Rotten Tomatoes, {setting.words}, {named(job, training)}: accuracy",
        "reported",
        f"{fmean(each):.3f}{spread}, Matthews {correlation:.3f}",
        not failed,
        TEST,
        sum(line["seconds"] for line in mine),
        control="chance 0.50"
        + ("" if job[1:] == (None, None) or not plain else f", non-private {plain[0]['accuracy']:.3f}"),
        reason=f"{spent}, {how}",
    )


def named(job: Job, training: Training) -> str:
    """Return how private a job is, in words."""
    setting, epsilon, sigma = SETTINGS[job[0]], job[1], job[2]
    if epsilon is not None:
        return f"epsilon {epsilon:g} at delta {DELTA:g}"
    if sigma is None:
        return "non-private"
    rate, steps = training.rate(setting.records), training.steps(setting.records)
    if sigma >= 0.5:
        return f"sigma {sigma:g} (epsilon {accountant.epsilon_of(sigma, rate, steps, DELTA):.3g} at delta {DELTA:g})"
    bound = gaussian.epsilon_of(DELTA, sigma / steps**0.5)
    return f"sigma {sigma:g} (epsilon at most {bound:.2g} at delta {DELTA:g})"


def _attack_row(job: Job, setting: Setting, log: list[Line], reading: str) -> Row:
    parts, n, seconds = [], 0, 0.0
    every: list[Run] = []
    for name in dict.fromkeys(line["attack"] for line in log):
        runs = [_run(line) for line in log if line["attack"] == name]
        rouge = f"R-1 {mean(runs, 'rouge1'):.2f} R-L {mean(runs, 'rougeL'):.2f}"
        parts.append(f"{name} {rouge} exact {mean(runs, 'exact_match'):.2f}")
        n, seconds, every = max(n, len(runs)), seconds + sum(run.seconds for run in runs), every + runs
    what = "the plain gradient" if job[1] is None else "what a DP-SGD step releases"
    if reading == BEFORE:
        what = "the reading before clipping and noise"
    return row(
        f"MiniLM on Rotten Tomatoes, {setting.words}, {'non-private' if job[1] is None else f'epsilon {job[1]:g}'}: "
        f"attacks on {what} of one text, {setting.cell} alone, on the trained model",
        "reported",
        "; ".join(parts),
        True,
        n,
        seconds,
        control=f"null R-1 {mean(every, 'rouge1', 'null'):.2f}, trivial {mean(every, 'rouge1', 'trivial'):.2f}",
        reason=f"training texts of at most {LONGEST} tokens; labels and lengths known; {setting.seconds:.0f} "
        f"{'processor seconds' if setting.tail else 's'} an attack, which cuts TAG short; a batch of one text is the "
        "adversary's best case",
    )


def _run(line: Line) -> Run:
    beside = ("job", "kind", "attack", "index", "reading")
    return Run(**{key: value for key, value in line.items() if key not in beside})


def _write(job: Job, **line: object) -> None:
    with LOG.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"job": list(job), **line}) + "\n")
    print(job, line, flush=True)


def lines() -> list[Line]:
    """Return the lines of the log."""
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
