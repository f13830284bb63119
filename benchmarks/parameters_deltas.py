"""Sentences from the weights of a fine-tuned MiniLM: `python -m benchmarks.parameters_deltas [STEPS ...]`.

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
SEED, BATCH, LONGEST, RATE, LIMIT = 401, 8, 16, 0.05, 150.0
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


def rows(steps: int) -> list[Row]:
    """Tune, publish, attack, score, for one number of steps."""
    bench = Bench(None, sentences(900, seed=SEED), batch=BATCH, count=2 * BATCH, longest=LONGEST)
    secret, other = bench.secrets[:2]
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
    seen = weight_delta(bench.model, victim.mechanism.parameters(), after, knowledge)
    right, placed = _placed(seen, secret.sequences)
    began = time.process_time()
    ended = attempt(EmbeddingRows(), seen, generator(0, "deltas", steps), seconds=LIMIT, clock=time.process_time)
    seconds = round(time.process_time() - began, 1)
    guess = ended.best
    tokens, bag = (guess.tokens, guess.bag) if guess else ((), ())
    special = bench.model.vocabulary.special
    inside = {token for sequence in secret.sequences for token in sequence} - special
    words = len(inside & set(bag)) / max(1, len(inside | set(bag)))
    outside = {token for sequence in other.sequences for token in sequence} - special
    null = len(outside & set(bag)) / max(1, len(outside | set(bag)))
    scores, control = bench._score(secret, tokens, bag), bench._score(other, tokens, bag)
    trivial = bench._score(secret, bench._trivial(secret), ())
    setting = f"MiniLM fine-tuned {steps} step{'s' * (steps > 1)} on {BATCH} sentences, weight change published"
    note = (
        f"{sum(secret.lengths)} tokens, at most {LONGEST} a sentence; gradient descent on all parameters, step size "
        f"{RATE:g}, loss {loss:.2g}; float32; labels and lengths known; "
    )
    common = {"bar": "reported", "unit": "", "holds": True, "n": BATCH, "command": COMMAND, "seconds": seconds}
    return [
        Row(
            setting=f"{setting}: share of words shared with what was read (intersection over union)",
            measured=round(words, 4),
            control=round(null, 4),
            reason=f"{note}{right} of {placed} words put on one position stand there; control: words of {BATCH} other "
            "sentences",
            **common,
        ),
        Row(
            setting=f"{setting}: mean ROUGE-1 of sentences",
            measured=round(scores["rouge1"], 4),
            control=round(control["rouge1"], 4),
            reason=f"{note}{guess.note if guess else 'no guess'}; trivial guess {trivial['rouge1']:.2f}; CPU seconds",
            **common,
        ),
        Row(
            setting=f"{setting}: share of sentences exact",
            measured=round(scores["exact_match"], 4),
            control=round(control["exact_match"], 4),
            reason=f"{note}ROUGE-2 {scores['rouge2']:.2f}; trivial guess {trivial['exact_match']:.2f}; CPU seconds",
            **common,
        ),
    ]


def _placed(seen: Observation, sequences: tuple[tuple[int, ...], ...]) -> tuple[int, int]:
    """Return how many words that were put on a position stand there, and how many were."""
    pair = tables(seen)
    assert pair is not None
    placed = read_rows(seen, *pair).placed
    true = {(word, at) for sequence in sequences for at, word in enumerate(sequence)}
    return sum(item in true for item in placed.items()), len(placed)


if __name__ == "__main__":
    threads()
    sys.exit(parts.run("parameters", {str(steps): partial(rows, steps) for steps in (1, 5, 20)}, sys.argv[1:]))
