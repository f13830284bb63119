"""A synthetic run: six layers, six components, four texts, two attacks, one absent cell."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unmask.record import Cell, Outcome, Record, Texts

COMPONENTS = ("query", "key", "value", "attention.output", "ffn.in", "ffn.out")
METRICS = ("rouge1", "rouge2", "rougeL", "token_recall", "exact_match")
ABSENT = (5, "query")
WHY_ABSENT = "only the first token reaches the loss through it"
TEXTS = (
    "Call Maria on 0555 0143 about the biopsy result before Friday.",
    "John Smith lives at 42 Oakchester Street at Springfield.",
    "The soup was cold, the waiter rude & the bill <script>alert('x')</script> wrong.",
    "we are not telling mother about the divorce until march",
)
KNOWLEDGE = (
    "The adversary knows the weights, the tokenizer and the loss.",
    "It sees one gradient over 1 sequence.",
    "Labels are unknown.",
)
PART = ((3, "key"), (4, "ffn.out"))


def scores(value: float, exact: float) -> dict[str, float]:
    """Return a full set of scores around one value."""
    return {
        "rouge1": value,
        "rouge2": value if exact else value / 2,
        "rougeL": value if exact else value * 0.9,
        "token_recall": value,
        "exact_match": exact,
    }


def record(layer: int | None, component: str, item: int, *, exact: bool = True, role: str = "strongest") -> Record:
    """Return one record; where it is not exact, the last half of the words is wrong."""
    secret = TEXTS[item % len(TEXTS)]
    words = secret.lower().split()
    keep = len(words) if exact else len(words) // 2 if role == "strongest" else len(words) // 3
    guess = words[:keep] + ["banana"] * (len(words) - keep)
    name = "span-search" if role == "strongest" else "gradient-matching"
    return Record(
        key=f"{layer}-{component}-{item}-{role}",
        model="minilm",
        surface={"name": "gradient", "dtype": "float32"},
        attack={"name": name, "role": role, "width": 64},
        cell=Cell(layer=layer, component=component, parameters=147456, share=0.0065),
        item={"index": item, "size": 1, "tokens": len(words) + 2},
        knowledge=KNOWLEDGE,
        outcome=Outcome.CERTIFIED if exact else Outcome.APPROXIMATE,
        reason="replay matches" if exact else "the search ended in a local optimum",
        texts=Texts(
            secret=(secret,),
            recovered=(" ".join(guess),),
            matches=(tuple(index < keep for index in range(len(guess))),),
            redacted=False,
        ),
        scores=scores(1.0, 1.0) if exact else scores(keep / len(words), 0.0),
        null=scores(0.05, 0.0),
        trivial=scores(0.1, 0.0),
        certificate=(item + 1) * 1e-7 if exact else 0.3 if role == "strongest" else None,
        seconds=(0.4 + (layer or 0) * 0.7 + 0.1 * item) * (1 if role == "strongest" else 45),
        seed=7,
        versions={"torch": "2.13.0", "unmask": "0.1.0"},
    )


def grid() -> list[dict[str, object]]:
    """Return the planned cells as they stand in `run.json`."""
    return [
        {
            "layer": layer,
            "component": component,
            "parameters": 147456,
            "share": 0.0065,
            "absent": WHY_ABSENT if (layer, component) == ABSENT else None,
        }
        for layer in range(6)
        for component in COMPONENTS
    ]


def everything() -> list[Record]:
    """Return the records of the whole run: all cells but the absent one, the baseline in six."""
    found = []
    for cell in grid():
        layer, component = cell["layer"], cell["component"]
        if (layer, component) == ABSENT:
            continue
        for item in range(4):
            found.append(record(layer, component, item, exact=(layer, component) not in PART or item == 0))
            if COMPONENTS.index(component) == layer:
                found.append(record(layer, component, item, exact=False, role="baseline"))
    return found


def redact(found: Record) -> Record:
    """Return the record with every word masked."""
    texts = found.texts
    masked = [
        tuple(" ".join("█" * len(word) for word in s.split()) for s in side) for side in (texts.secret, texts.recovered)
    ]
    return replace(found, texts=replace(texts, secret=masked[0], recovered=masked[1], redacted=True))


Make = Callable[..., Path]
"""Writes a run's folder; see the fixture `make`."""
