"""Sentences from the weights of a fine-tuned MiniLM: `python -m benchmarks.parameters_deltas [PART ...]`.

All parameters are tuned on one batch of eight real sentences by plain gradient descent, and the weights
before and after are published in float32. Labels and lengths are known, as in the gradient's setting.
"""

import sys
import time
from functools import partial

import torch

from benchmarks import parts
from benchmarks.harness import Bench, sentences, threads
from benchmarks.rows import Row
from unmask.attacks.deltas.embedding_rows import EmbeddingRows
from unmask.attacks.deltas.rows import read_rows, tables
from unmask.auditor.attempt import attempt
from unmask.observation import Knowledge, Observation
from unmask.rng import generator
from unmask.surfaces.weight_delta import weight_delta
from unmask.victim import Victim
from unmask.victims.mechanism import TorchMechanism

COMMAND = "python -m benchmarks.parameters_deltas"
SEED, BATCH, LONGEST, RATE, LIMIT = 401, 8, 12, 0.05, 120.0
"""The sentences of this seed were not looked at while the attack was built."""


def tuned(victim: Victim, steps: int) -> tuple[dict[str, torch.Tensor], float]:
    """Return the parameters after so many steps of gradient descent, and the loss before the last one."""
    assert victim.secret is not None
    current = {name: tensor.clone() for name, tensor in victim.mechanism.parameters().items()}
    loss = torch.zeros(())
    for _ in range(steps):
        leaves = {name: tensor.requires_grad_() for name, tensor in current.items()}
        loss = victim.mechanism.loss(leaves, victim.secret, dropout=False, generator=torch.Generator())
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        current = {
            name: tensor.detach() if step is None else tensor.detach() - RATE * step
            for (name, tensor), step in zip(leaves.items(), found, strict=True)
        }
    return current, float(loss.detach())


def published(steps: int) -> tuple[Bench, Observation, float]:
    """Tune and publish: return the bench, of which batch 0 was tuned on, what is seen, and the last loss."""
    bench = Bench(None, sentences(900, seed=SEED), batch=BATCH, count=2 * BATCH, longest=LONGEST)
    secret = bench.secrets[0]
    victim = Victim(model=bench.model, mechanism=TorchMechanism(model=bench.model), secret=secret)
    after, loss = tuned(victim, steps)
    assert secret.labels is not None
    knowledge = Knowledge(
        batch=BATCH,
        labels=tuple(secret.labels.tolist()),
        lengths=secret.lengths,
        padded=secret.ids.shape[1],
        local_steps=steps,
        learning_rate=RATE,
    )
    return bench, weight_delta(bench.model, victim.mechanism.parameters(), after, knowledge), loss


def setting(steps: int) -> str:
    """Name a number of steps."""
    plural = "s" * (steps > 1)
    return f"MiniLM fine-tuned {steps} step{plural} on {BATCH} sentences, weight change published"


def noted(bench: Bench, loss: float) -> str:
    """Return what rows have in common."""
    return (
        f"{sum(bench.secrets[0].lengths)} tokens, at most {LONGEST} a sentence; gradient descent on all parameters, "
        f"step size {RATE:g}, loss {loss:.2g}; float32; labels and lengths known; "
    )


def words(steps: int) -> list[Row]:
    """Return the row of the words that occurred, and of their positions."""
    bench, seen, loss = published(steps)
    began = time.process_time()
    pair = tables(seen)
    assert pair is not None
    found = read_rows(seen, *pair)
    seconds = round(time.process_time() - began, 1)
    special = bench.model.vocabulary.special
    bag = set(found.words.tolist()) - special
    shares = []
    for secret in bench.secrets[:2]:
        inside = {token for sequence in secret.sequences for token in sequence} - special
        shares.append(len(inside & bag) / len(inside | bag))
    true = {(word, at) for sequence in bench.secrets[0].sequences for at, word in enumerate(sequence)}
    right = sum(item in true for item in found.placed.items())
    return [
        Row(
            setting=f"{setting(steps)}: words, intersection over union",
            bar="reported",
            measured=round(shares[0], 4),
            unit="",
            holds=True,
            control=round(shares[1], 4),
            n=BATCH,
            seconds=seconds,
            command=COMMAND,
            reason=f"{noted(bench, loss)}{right} of the {len(found.placed)} words put on one position stand there, of "
            f"{len(bag)} words; control: words of {BATCH} other sentences",
        )
    ]


def rows(steps: int) -> list[Row]:
    """Return the rows of the sentences."""
    bench, seen, loss = published(steps)
    began = time.process_time()
    ended = attempt(EmbeddingRows(), seen, generator(0, "deltas", steps), seconds=LIMIT, clock=time.process_time)
    seconds = round(time.process_time() - began, 1)
    guess = ended.best
    tokens, bag = (guess.tokens, guess.bag) if guess else ((), ())
    scores, control = (bench._score(secret, tokens, bag) for secret in bench.secrets[:2])
    trivial = bench._score(bench.secrets[0], bench._trivial(bench.secrets[0]), ())
    said = guess.note if guess else "no guess"
    return [
        Row(
            setting=f"{setting(steps)}: {name}",
            bar="reported",
            measured=round(scores[key], 4),
            unit="",
            holds=True,
            control=round(control[key], 4),
            n=BATCH,
            seconds=seconds,
            command=COMMAND,
            reason=f"{noted(bench, loss)}{said}; trivial guess {trivial[key]:.2f}; CPU seconds, limit {LIMIT:.0f}",
        )
        for key, name in (("token_recall", "token recall"), ("rouge1", "mean ROUGE-1"), ("exact_match", "exact"))
    ]


STEPS = (1, 5, 20)
PARTS = {f"words-{k}": partial(words, k) for k in STEPS} | {f"sentences-{k}": partial(rows, k) for k in STEPS}


if __name__ == "__main__":
    threads()
    sys.exit(parts.run("parameters", PARTS, sys.argv[1:]))
