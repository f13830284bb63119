"""One text as a store that others may ask, and as a span of a prompt: what is read with and without a defence."""

import json
import time
from dataclasses import asdict
from typing import Any

from benchmarks import smollm
from benchmarks.harness import Bench, Run, mean, sentences, threads
from benchmarks.privacy_accounting import row
from benchmarks.rows import RESULTS, Row
from unmask.attack import Attack
from unmask.attacks.shared.record_match import RecordMatch
from unmask.attacks.shared.span_guess import SpanGuess
from unmask.defence import Defence
from unmask.defences.bounded_decoding import BoundedDecodings
from unmask.defences.private_store import LinearStates, NoisyReads
from unmask.surface import Scenario
from unmask.surfaces.answer import AnswerSurface
from unmask.surfaces.store import StoreSurface

LOG = RESULTS / "privacy-shared.jsonl"
STORES, SPANS, SEED = 10, 3, 77
LONGEST = {"store": 28, "answer": 16}
SECONDS = {"store": 20.0, "answer": 30.0}
EPSILONS = {"store": (1.0, 1e4, 1e6), "answer": (1.0, 8.0)}

Case = tuple[str, str, float | None]
"""Surface, defence (or empty) and epsilon."""


def cases() -> list[Case]:
    """Return every case, the undefended ones first."""
    found: list[Case] = [("store", "", None), ("answer", "", None)]
    found += [("store", name, e) for name in ("noisy-read", "linear-state") for e in EPSILONS["store"]]
    return [*found, *(("answer", "bounded-decoding", e) for e in EPSILONS["answer"])]


def _defence(name: str, epsilon: float | None) -> Defence | None:
    if epsilon is None:
        return None
    makers = {"noisy-read": NoisyReads, "linear-state": LinearStates, "bounded-decoding": BoundedDecodings}
    made: Defence = makers[name](epsilon=epsilon)
    return made


def measure(most: float = float("inf"), kinds: tuple[str, ...] = ("store", "answer")) -> bool:
    """Append one line a text; lines that exist are not measured again.

    Args:
        most: stop after so many seconds, between two texts.
        kinds: which surfaces.

    Returns:
        Whether nothing is left.
    """
    threads()
    began = time.monotonic()
    for kind in kinds:
        done = {(line["surface"], line["defence"], line["epsilon"], line["index"]) for line in lines()}
        count = STORES if kind == "store" else SPANS
        left = [(case, i) for case in cases() if case[0] == kind for i in range(count) if (*case, i) not in done]
        if not left:
            continue
        folder = None if kind == "store" else smollm.folder()
        bench = Bench(folder, sentences(300, SEED), count=count + 8, longest=LONGEST[kind])
        for (_, name, epsilon), index in left:
            if time.monotonic() - began > most:
                return False
            run = _run(bench, kind, _defence(name, epsilon), index)
            line = {"surface": kind, "defence": name, "epsilon": epsilon, "index": index, **asdict(run)}
            with LOG.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)
    return True


def _run(bench: Bench, kind: str, defence: Defence | None, index: int) -> Run:
    surface: Any = StoreSurface()
    attack: Attack[Any] = RecordMatch()
    if kind == "answer":
        special = bench.model.vocabulary.special
        surface, attack = AnswerSurface().encoded(bench.loaded.encode, special), SpanGuess()
    if defence is not None:
        surface = defence.protect(Scenario(victim=None, surface=surface)).surface
    return bench.run(index, kind, attack, SECONDS[kind], surface=surface, clock=time.process_time)


def rows() -> list[Row]:
    """Measure what the log lacks, then make a row a case."""
    measure()
    return [_row(case, mine) for case in cases() if (mine := [line for line in lines() if _case(line) == case])]


def _case(line: dict[str, Any]) -> Case:
    return line["surface"], line["defence"], line["epsilon"]


def _row(case: Case, mine: list[dict[str, Any]]) -> Row:
    kind, name, epsilon = case
    beside = ("surface", "defence", "epsilon", "index")
    runs = [Run(**{key: value for key, value in line.items() if key not in beside}) for line in mine]
    what = "Store of one text in MiniLM's first head, 64 queries" if kind == "store" else "Answer of SmolLM2-135M"
    behind = "undefended" if epsilon is None else f"{name} at epsilon {epsilon:g}, delta 1e-5"
    exact = round(sum(run.scores["exact_match"] for run in runs))
    bar = "every text exact" if case == ("store", "", None) else "reported"
    words = f"texts of up to {LONGEST[kind]} tokens from CoLA, SST-2 and Rotten Tomatoes, not used before; "
    if kind == "answer":
        words += "24 tokens on a prompt that asks for the text again; "
    return row(
        f"{what}, {behind}: texts read by {'record-match' if kind == 'store' else 'span-guess'}",
        bar,
        f"{exact} of {len(runs)} exact, ROUGE-1 {mean(runs, 'rouge1'):.2f}",
        bar == "reported" or exact == len(runs),
        len(runs),
        sum(run.seconds for run in runs),
        control=f"null R-1 {mean(runs, 'rouge1', 'null'):.2f}, trivial {mean(runs, 'rouge1', 'trivial'):.2f}",
        reason=f"{words}lengths known; {SECONDS[kind]:.0f} processor seconds an attack; the noise is seeded",
    )


def lines() -> list[dict[str, Any]]:
    """Return the lines of the log."""
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
