"""A head on frozen MiniLM, trained privately on Rotten Tomatoes: accuracy, and what its gradients give away."""

import json
import time
import warnings
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import nn

from benchmarks.harness import Bench, Run, mean, threads
from benchmarks.privacy_accounting import row
from benchmarks.privacy_training import BEFORE, CLIP, DELTA, EPSILONS, HELD, RELEASED, TEST, TRAINING
from benchmarks.rows import RESULTS, Row
from unmask.attack import Attack
from unmask.attacks.matching.matching import tag
from unmask.attacks.matching.soft_span import SoftSpan
from unmask.attacks.span import SpanSearch
from unmask.defences.training import frozen
from unmask.defences.training.plan import Privacy
from unmask.defences.training.self_test import self_test
from unmask.metrics.classes import accuracy, matthews
from unmask.surface import Surface
from unmask.surfaces.dp_gradient import DpGradientSurface
from unmask.surfaces.gradient import GradientSurface
from unmask.victims.corpora import from_parquet
from unmask.victims.hf import mean_pooled, wrap
from unmask.victims.secrets import secrets

LOG = RESULTS / "privacy-frozen.jsonl"
FEATURES = RESULTS.parents[1] / "build" / "privacy" / "frozen.pt"
RECORDS, REPEATS, TEXTS, LONGEST, SECONDS = 8528, 3, 3, 24, 6.0
HEAD, CELL = "classifier", "re:^classifier"
NAME = "MiniLM on Rotten Tomatoes, head on the mean of frozen states (770 parameters)"

Line = dict[str, Any]


class _Room:
    """Model, texts and their features, which are computed once."""

    def __init__(self) -> None:
        self.bench = Bench(None, from_parquet(TRAINING, RECORDS))
        self.who = mean_pooled(self.bench.loaded)
        self.model, self.own = self.who.model, self.bench.secrets
        self.held = secrets(from_parquet(HELD, TEST), self.model, self.who.encode, batch=1)
        if not FEATURES.is_file():
            FEATURES.parent.mkdir(parents=True, exist_ok=True)
            torch.save([frozen.features(self.model, texts, HEAD) for texts in (self.own, self.held)], FEATURES)
        self.seen, self.judged = torch.load(FEATURES)
        self.training = frozen.settings(len(self.own), HEAD)

    def privacy(self, epsilon: float | None) -> Privacy | None:
        if epsilon is None:
            return None
        sigma = next((line["sigma"] for line in lines() if line["epsilon"] == epsilon), None)
        if sigma is not None:
            return Privacy(noise=sigma, clip=CLIP, delta=DELTA)
        return Privacy.calibrated(epsilon, DELTA, CLIP, self.training, len(self.own))

    def trained(self, privacy: Privacy | None) -> nn.Module:
        return frozen.train_head(self.model, self.own, self.training, privacy, seen=self.seen)

    def utility(self, module: nn.Module) -> dict[str, float]:
        """Return accuracy and correlation by the stored features.

        Raises:
            RuntimeError: if they are not what the whole model computes on the first texts.
        """
        head = cast(nn.Linear, module.get_submodule(HEAD))
        with torch.no_grad():
            logits = head(self.judged)
            for one, own in zip(self.held[:8], logits, strict=False):
                whole = self.model.forward(module.eval(), one.ids, None, None)[0]
                if not torch.allclose(whole, own, atol=1e-4):
                    raise RuntimeError(f"the head gives {own.tolist()}, the whole model {whole.tolist()}")
        truth = [int(one.labels[0]) for one in self.held if one.labels is not None]
        guess = logits.argmax(1).tolist()
        return {"accuracy": accuracy(truth, guess), "matthews": matthews(truth, guess)}


def measure(most: float = float("inf")) -> bool:
    """Append one line a training and one an attack; lines that exist are not measured again.

    Args:
        most: stop after so many seconds, between two jobs.

    Returns:
        Whether nothing is left.
    """
    warnings.simplefilter("ignore")  # Opacus' hooks of frozen inputs
    threads()
    began, room = time.monotonic(), _Room()
    for epsilon in (None, *EPSILONS):
        privacy, module = room.privacy(epsilon), None
        done = [line for line in lines() if line["kind"] == "training" and line["epsilon"] == epsilon]
        for _ in range(len(done), 1 if epsilon is None else REPEATS):
            start = time.process_time()
            checks = () if privacy is None else self_test(room.model, room.training, privacy, RECORDS)
            module = room.trained(privacy)
            failed = [str(check) for check in checks if not check.passed]
            spent = {"failed": failed, "sigma": 0.0 if privacy is None else privacy.noise}
            seconds = round(time.process_time() - start, 1)
            _write(kind="training", epsilon=epsilon, **spent, **room.utility(module), seconds=seconds)
        if not _attacked(room, epsilon, privacy, module, began + most):
            return False
    return True


def _attacked(
    room: _Room, epsilon: float | None, privacy: Privacy | None, module: nn.Module | None, deadline: float
) -> bool:
    """Attack one step of the trained model, on one text each, as it is released and before clipping and noise."""
    attacks: tuple[Attack[Any], ...] = (SpanSearch(), SoftSpan(), tag())
    done = {(one["attack"], one["index"], one["reading"]) for one in _attack_lines(epsilon)}
    left = [
        (attack, index, reading)
        for reading in ((RELEASED,) if privacy is None else (RELEASED, BEFORE))
        for attack in attacks
        for index in range(TEXTS)
        if (attack.name, index, reading) not in done
    ]
    if not left:
        return True
    against = Bench(None, from_parquet(TRAINING, RECORDS), count=TEXTS + 8, longest=LONGEST)
    network: Any = room.trained(privacy) if module is None else module
    against.loaded = wrap(network, room.who.tokenizer, name="fine-tuned", causal_lm=False)
    against.model = against.loaded.model
    base = GradientSurface(select=CELL, knows_labels=True, knows_lengths=True)
    for attack, index, reading in left:
        if time.monotonic() > deadline:
            return False
        surface: Surface[Any, Any] = base
        if privacy is not None and reading == RELEASED:
            surface = DpGradientSurface(base=base, clip=privacy.clip, noise=privacy.noise, train=CELL)
        run = against.run(index, CELL, attack, SECONDS, surface=surface, clock=time.process_time)
        _write(kind="attack", epsilon=epsilon, attack=attack.name, index=index, reading=reading, **asdict(run))
    return True


def rows() -> list[Row]:
    """Measure what the log lacks, then make a row of accuracy and one or two of attacks for each epsilon."""
    measure()
    found = []
    plain = next(one for one in lines() if one["kind"] == "training" and one["epsilon"] is None)
    for epsilon in (None, *EPSILONS):
        mine = [one for one in lines() if one["kind"] == "training" and one["epsilon"] == epsilon]
        found.append(_utility(epsilon, mine, plain))
        for reading in (RELEASED, BEFORE):
            runs = [one for one in _attack_lines(epsilon) if one["reading"] == reading]
            if runs:
                found.append(_attack_row(epsilon, reading, runs))
    return found


def _utility(epsilon: float | None, mine: list[Line], plain: Line) -> Row:
    each = [one["accuracy"] for one in mine]
    average = sum(each) / len(each)
    correlation = sum(one["matthews"] for one in mine) / len(mine)
    failed = [text for one in mine for text in one["failed"]]
    how = (
        f"{frozen.STEPS} steps over all 8,528 training texts, Adam {frozen.RATE:g}; steps, rate and C were chosen once "
        "for all epsilons on a fifth of the training texts, which is not counted in epsilon"
    )
    if epsilon is not None:
        passed = "the self-test passed" if not failed else f"the self-test failed: {failed}"
        how = f"C = {CLIP:g}, sigma {mine[0]['sigma']:.3g}, {how}; system entropy; {passed}"
    spread = f" (runs {', '.join(f'{one:.3f}' for one in each)})" if len(each) > 1 else ""
    named = "non-private" if epsilon is None else f"epsilon {epsilon:g} at delta {DELTA:g}"
    return row(
        f"{NAME}, {named}: accuracy",
        "reported",
        f"{average:.3f}{spread}, Matthews {correlation:.3f}",
        not failed,
        TEST,
        sum(one["seconds"] for one in mine),
        control="chance 0.50" if epsilon is None else f"chance 0.50, non-private {plain['accuracy']:.3f}",
        reason=how,
    )


def _attack_row(epsilon: float | None, reading: str, runs: list[Line]) -> Row:
    what = "the plain gradient" if epsilon is None else "what a DP-SGD step releases"
    what = what if reading == RELEASED else "the reading before clipping and noise"
    parts, every = [], [_run(line) for line in runs]
    for name in dict.fromkeys(line["attack"] for line in runs):
        own = [_run(line) for line in runs if line["attack"] == name]
        rouge = f"R-1 {mean(own, 'rouge1'):.2f} R-L {mean(own, 'rougeL'):.2f}"
        parts.append(f"{name} {rouge} exact {mean(own, 'exact_match'):.2f}")
    return row(
        f"{NAME}, {'non-private' if epsilon is None else f'epsilon {epsilon:g}'}: attacks on {what} of one text, on "
        "the trained model",
        "reported",
        "; ".join(parts),
        True,
        TEXTS,
        sum(run.seconds for run in every),
        control=f"null R-1 {mean(every, 'rouge1', 'null'):.2f}, trivial {mean(every, 'rouge1', 'trivial'):.2f}",
        reason=f"training texts of at most {LONGEST} tokens; labels and lengths known; {SECONDS:.0f} processor seconds "
        "an attack, which cuts TAG short; a batch of one text is the adversary's best case",
    )


def _attack_lines(epsilon: float | None) -> list[Line]:
    return [one for one in lines() if one["kind"] == "attack" and one["epsilon"] == epsilon]


def _run(line: Line) -> Run:
    beside = ("epsilon", "kind", "attack", "index", "reading")
    return Run(**{key: value for key, value in line.items() if key not in beside})


def _write(**line: object) -> None:
    with LOG.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(line, flush=True)


def lines() -> list[Line]:
    """Return the lines of the log."""
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
