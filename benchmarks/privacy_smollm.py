"""Bounded decoding on SmolLM2-135M: what an answer keeps of a marked span, and what an adversary reads off it."""

import json
import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import smollm
from benchmarks.harness import threads
from benchmarks.privacy_accounting import row
from benchmarks.rows import RESULTS, Row
from unmask.privacy.mechanisms.bounded_decoding import BoundedDecoding, largest_weight
from unmask.privacy.sampling import Randomness
from unmask.privacy.tradeoff import approximate, success
from unmask.victims import hf
from unmask.victims.torch_model import TorchModel

Array = NDArray[np.float64]
LOG = RESULTS / "privacy-smollm.jsonl"
TOKENS, DELTA = 16, 1e-5
EPSILONS = (2.0, 8.0, 32.0)
TEMPLATE = "Note: {} The note says that the patient, "
REDACTED = "____"
NOTES = (
    "{} has to take two pills of warfarin every morning.",
    "The knee of {} has hurt since Monday, please book an X-ray.",
    "{} called about the results of the blood test.",
    "Please tell {} that the operation was moved to Friday.",
    "{} is allergic to penicillin and must not be given any.",
    "Insulin for {} is in the second fridge.",
)
NAMES = ("Priyanka Raman", "Tom Hughes", "Elif Kaya", "George Wu")
"""What the span may be; the first of each note's turn is the secret, and the adversary knows all four."""


def rows() -> list[Row]:
    """Measure what the log lacks, then make two rows an epsilon: what is kept, and what an adversary names rightly."""
    measure()
    lines, found = [json.loads(line) for line in LOG.read_text().splitlines()], []
    prior = 1 / len(NAMES)
    for epsilon in EPSILONS:
        mine = [line for line in lines if line["epsilon"] == epsilon]
        bound = success(prior, approximate(epsilon, DELTA))
        kept, plain = (float(np.mean([line[key] for line in mine])) for key in ("kept", "plain"))
        named, free = sum(line["named"] for line in mine), sum(line["free"] for line in mine)
        seconds = sum(line["seconds"] for line in mine)
        where = f"Bounded decoding on SmolLM2-135M, {TOKENS} tokens, one name replaced, epsilon {epsilon:g}, delta 1e-5"
        how = (
            f"{len(mine)} answers; {len(NAMES)} names, each as likely; the adversary reads the answer with the "
            "likelihood of the mechanism itself under each name; system entropy"
        )
        found += [
            row(
                f"{where}: share of the span's information that is used",
                "reported",
                round(kept, 3),
                True,
                len(mine),
                seconds,
                control=f"0 without the span, 1 without privacy; {plain:.2f} nats a token are there to use",
                reason=how,
            ),
            row(
                f"{where}: names that the strongest adversary reads off the answer",
                "reported",
                f"{named} of {len(mine)}",
                True,
                len(mine),
                0.0,
                control=f"{free} of {len(mine)} without privacy; blind guess {prior:.2f}, proved bound {bound:.3f}",
                reason="too few answers to test the bound, which is proved; shown beside what privacy takes away",
            ),
        ]
    return found


def measure() -> bool:
    """Append one line an epsilon and note, lines that exist are not measured again; return True when all are there."""
    threads()
    done = (
        {(line["epsilon"], line["note"]) for line in map(json.loads, LOG.read_text().splitlines())}
        if LOG.exists()
        else set()
    )
    left = [(e, n) for e in EPSILONS for n in range(len(NOTES)) if (e, n) not in done]
    if not left:
        return True
    who = hf.load(smollm.folder(), task="causal-lm")
    for epsilon, note in left:
        began = time.perf_counter()
        line = _answered(who, epsilon, note)
        with LOG.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "seconds": round(time.perf_counter() - began, 1)}) + "\n")
        print(line, flush=True)
    return True


def _answered(who: hf.Loaded, epsilon: float, note: int) -> dict[str, Any]:
    mechanism = BoundedDecoding(epsilon=epsilon, delta=DELTA, tokens=TOKENS, replace=True)
    prompts = [who.encode(TEMPLATE.format(NOTES[note].format(name))) for name in NAMES]
    public, secret = who.encode(TEMPLATE.format(NOTES[note].format(REDACTED))), note % len(NAMES)

    def both(text: tuple[int, ...]) -> tuple[Array, Array]:
        return _next(who.model, prompts[secret], text)[-1], _next(who.model, public, text)[-1]

    answer = mechanism.release(both, Randomness()).value
    private = [_next(who.model, prompt, answer)[:-1] for prompt in prompts]
    blind = _next(who.model, public, answer)[:-1]
    mixed = []
    for each in private:
        weight = largest_weight(each, blind, mechanism.bound, mechanism.enforced)[:, None]
        mixed.append(weight * each + (1 - weight) * blind)
    own = private[secret]
    there, lost = _divergence(own, blind), _divergence(own, mixed[secret])
    free = BoundedDecoding(epsilon=1e6, delta=DELTA, tokens=TOKENS)
    plain = free.release(lambda text: (_next(who.model, prompts[secret], text)[-1],) * 2, Randomness()).value
    unbound = [_next(who.model, prompt, plain)[:-1] for prompt in prompts]
    return {
        "epsilon": epsilon,
        "note": note,
        "kept": float(1 - lost / max(there, 1e-12)),
        "plain": there,
        "named": int(np.argmax([_likelihood(each, answer) for each in mixed])) == secret,
        "free": int(np.argmax([_likelihood(each, plain) for each in unbound])) == secret,
        "answer": re.sub(r"\s+", " ", who.model.decode(list(answer))),
        "without privacy": re.sub(r"\s+", " ", who.model.decode(list(plain))),
    }


@torch.no_grad()
def _next(model: TorchModel, prompt: Sequence[int], text: Sequence[int]) -> Array:
    """Return next-token distributions (len(text) + 1, v) after the prompt and each token of the text."""
    logits = model.forward(model.module, torch.tensor([[*prompt, *text]]), None, None)[0, len(prompt) - 1 :]
    return logits.double().softmax(-1).numpy()


def _divergence(first: Array, second: Array) -> float:
    return float((first * (np.log(first + 1e-300) - np.log(second + 1e-300))).sum(-1).mean())


def _likelihood(chances: Array, text: Sequence[int]) -> float:
    return float(sum(np.log(row[token] + 1e-300) for row, token in zip(chances, text, strict=True)))
