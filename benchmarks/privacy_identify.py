"""Which of a list of sentences was it? The best adversary of a released DP-SGD step, where reconstruction fails.

An adversary who has the sentence on a list needs no reconstruction: it compares what was released with the clipped
gradient of each candidate, and takes the likeliest, which no adversary without more knowledge does better.
"""

import json
import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness import DATA, Bench, threads
from benchmarks.privacy_accounting import row
from benchmarks.rows import RESULTS, Row
from unmask.privacy import gaussian, tradeoff
from unmask.privacy.tradeoff import success
from unmask.rng import generator
from unmask.surfaces.dp_gradient import DpGradientSurface
from unmask.surfaces.gradient import GradientSurface
from unmask.victim import Victim
from unmask.victims.corpora import from_parquet
from unmask.victims.mechanism import TorchMechanism

LOG = RESULTS / "privacy-identify.json"
CANDIDATES, TRIALS, CLIP = 32, 4000, 1.0
CELLS = {"0.query": "0.query alone", "0-5.query+0-5.key+0-5.value": "all queries, keys and values"}
SIGMAS = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
ALONE = "0.query"


def rows() -> list[Row]:
    """Return one row a sigma and cell: how often the right sentence is named."""
    grams, seconds = _grams()
    rng, made = np.random.default_rng(0), []
    for cell, words in CELLS.items():
        for sigma in SIGMAS:
            named = share(grams[cell], sigma, rng)
            # Two sentences differ by at most 2C: the Gaussian mechanism's trade-off bounds every adversary.
            bound = success(1 / CANDIDATES, tradeoff.gaussian(2 / sigma))
            made.append(
                row(
                    f"DP-SGD step, MiniLM on CoLA, {words}, B = 1, C = {CLIP:g}, sigma {sigma:g}, released: the "
                    f"sentence is named out of {CANDIDATES}",
                    f"<= {bound:.3f}, the bound for one step",
                    round(named, 4),
                    named <= bound + 3 * (bound * (1 - bound) / TRIALS) ** 0.5,
                    TRIALS,
                    seconds,
                    control=f"blind guess {1 / CANDIDATES:.3f}",
                    reason="the likeliest candidate; labels known; exact: only inner products with the candidates' "
                    "gradients matter; replacing a sentence moves a step by 2C, which is epsilon "
                    f"{_spent(sigma)} at delta 1e-4",
                )
            )
    return made


def found() -> dict[float, float]:
    """Return sigma to the share that is named from 0.query alone."""
    grams, _ = _grams()
    return {sigma: share(grams[ALONE], sigma, np.random.default_rng(0)) for sigma in SIGMAS}


def share(gram: NDArray[np.float64], sigma: float, rng: np.random.Generator) -> float:
    """Return how often the likeliest candidate is the right one.

    With `y = g_i + sigma C z` the log-likelihood of candidate j is `(y g_j - |g_j|^2 / 2) / (sigma C)^2` up to a
    constant, and the products `z g_j` are jointly normal with the Gram matrix for a covariance.

    Args:
        gram: inner products of the clipped gradients.
        sigma: deviation of the noise over C.
        rng: source of the trials.
    """
    values, vectors = np.linalg.eigh(gram)
    root = vectors * np.sqrt(np.maximum(values, 0))
    right = 0
    for trial in range(TRIALS):
        true = trial % len(gram)
        noise = sigma * CLIP * (root @ rng.standard_normal(len(gram)))
        right += int(np.argmax(gram[true] + noise - np.diag(gram) / 2)) == true
    return right / TRIALS


def _spent(sigma: float) -> str:
    return f"{gaussian.epsilon_of(1e-4, sigma, 2.0):.3g}"


def _grams() -> tuple[dict[str, NDArray[np.float64]], float]:
    """Return the Gram matrix of the candidates' clipped gradients by cell, from the log if it is there."""
    if LOG.exists():
        kept = json.loads(LOG.read_text())
        return {cell: np.array(kept[cell]) for cell in CELLS}, kept["seconds"]
    threads()
    began, grams = time.perf_counter(), {}
    bench = Bench(None, from_parquet(DATA / "cola" / "train.parquet", 200), count=CANDIDATES, longest=24)
    for cell in CELLS:
        surface = DpGradientSurface(base=GradientSurface(select=cell), clip=CLIP, noise=0.0)
        flat = []
        for secret in bench.secrets:
            # Labels are known, so that every candidate stands under the same one.
            one = replace(secret, labels=torch.zeros_like(secret.labels))
            victim = Victim(model=bench.model, mechanism=TorchMechanism(model=bench.model), secret=one)
            seen = surface.observe(victim, generator(0))
            flat.append(torch.cat([tensor.flatten() for tensor in seen.tensors.values()]))
        stacked = torch.stack(flat).double() if len(flat[0]) < 10**6 else torch.stack(flat)
        grams[cell] = (stacked @ stacked.T).double().numpy()
    seconds = round(time.perf_counter() - began, 1)
    LOG.write_text(json.dumps({**{cell: gram.tolist() for cell, gram in grams.items()}, "seconds": seconds}) + "\n")
    return grams, seconds
