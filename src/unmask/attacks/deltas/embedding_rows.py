"""Sentences from the change of a fine-tuned transformer's embedding tables, over any number of steps."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from unmask.attack import Reconstruction
from unmask.attacks.deltas.rows import Rows, read_rows, tables
from unmask.attacks.deltas.sentences import Assembly
from unmask.attacks.layout import layout
from unmask.observation import Observation
from unmask.public import Place


@dataclass(frozen=True, kw_only=True)
class EmbeddingRows:
    """Read words, their positions, and which of them stand together, from embedding rows alone.

    1. A word's row changed if and only if it occurred.
    2. Rows of tokens and of positions sum the same vectors, so positions are a least-squares problem (`read_rows`).
    3. A word that occurred once shows its own gradient, which depends on its sentence: words are shared out
       to sentences so that gradients at the public start point along the rows (`Assembly`).

    Steps 1 and 2 hold for any number of steps of gradient descent, with momentum or without; step 3 is exact for
    one step and an approximation for more. Adam scales entries one by one and breaks step 2; weight decay moves
    every row. Lengths have to be known for step 3. The loss is the mean of 1 less the cosine.

    Args:
        name: registered name.
        source: publication.
        sweeps: times that all positions are assigned anew, at most.
        restarts: random starts at most, of what is not kept by then.
        sure: mean of 1 less the cosine over a sentence's words below which it is kept.
    """

    name: str = "embedding-rows"
    source: str = "words: Melis et al., S&P 2019, arXiv 1805.04049; positions and sentences are this project's"
    sweeps: int = 8
    restarts: int = 10
    sure: float = 0.05

    def run(self, observation: Observation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield the words first, then the sentences after every sweep, the best start last."""
        pair = tables(observation)
        if pair is None:
            note = "the tables of token and position embeddings are not both visible"
            yield Reconstruction(tokens=(), loss=float("inf"), note=note, absent=True, done=True)
            return
        rows = read_rows(observation, *pair)
        bag = _bag(observation, rows)
        note = f"{len(bag)} words, {len(rows.placed)} of them on their positions"
        whole = observation.knowledge.lengths is not None and bool(rows.placed) and not observation.model.causal
        yield Reconstruction(tokens=(), bag=bag, loss=2.0, note=note, done=not whole)
        if whole:
            yield from self._sentences(observation, rows, pair[1], note, generator)

    def _sentences(
        self, observation: Observation, rows: Rows, position: Place, note: str, generator: torch.Generator
    ) -> Iterator[Reconstruction]:
        bag = _bag(observation, rows)
        state = Assembly(
            observation=observation, rows=rows, layout=layout(observation), position=position, sure=self.sure
        )
        best: Reconstruction | None = None
        for restart in range(self.restarts):
            state.start(generator)
            kept = 0
            for sweep in range(self.sweeps):
                changed = [state.improve(at) for at in state.positions()]
                loss, kept = state.cost(), state.keep()
                text = f"{note}; {kept} sentences prove themselves; start {restart + 1}, sweep {sweep + 1}"
                guess = Reconstruction(
                    tokens=state.sequences(), bag=bag, loss=loss, note=f"{text}: mean cost {loss:.2g}"
                )
                best = guess if best is None or loss < best.loss else best
                yield guess
                if not any(changed):
                    break
            if kept == len(state.ids):
                break
        assert best is not None
        yield Reconstruction(tokens=best.tokens, bag=bag, loss=best.loss, note=best.note, done=True)


def _bag(observation: Observation, rows: Rows) -> tuple[int, ...]:
    special = observation.model.vocabulary.special
    return tuple(word for word in rows.words.tolist() if word not in special)
