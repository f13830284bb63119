"""Texts to secrets: encoded, checked and put into batches."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.public import PublicModel
from unmask.victim import Secret
from unmask.victims.corpora import Example

Encode = Callable[[str], Sequence[int]]
"""Text to token ids, the tokenizer's prefix and suffix included."""


def secrets(
    examples: Sequence[Example], model: PublicModel, encode: Encode, *, batch: int, argument: str = "texts"
) -> tuple[Secret, ...]:
    """Return the examples as batches in their order; a last batch may be smaller.

    Args:
        examples: private sentences.
        model: the model that is to train on them.
        encode: its tokenizer.
        batch: number of sequences in a batch.
        argument: what the caller calls `examples`; errors use it, with the index from 0.

    Raises:
        BadInput: if a sentence is empty or longer than the model takes, its label is no class of the
            model, or its ids are not the model's.
    """
    if batch < 1:
        raise BadInput("--batch", batch, "is below 1", "give at least 1")
    if not examples:
        raise BadInput(argument, [], "holds no sentence", "give at least one")
    encoded = [_encoded(example, index, model, encode, argument) for index, example in enumerate(examples)]
    return tuple(
        _batch(examples[start : start + batch], encoded[start : start + batch], model)
        for start in range(0, len(examples), batch)
    )


def _encoded(example: Example, index: int, model: PublicModel, encode: Encode, argument: str) -> tuple[int, ...]:
    # The text itself stays out of errors: they end up in logs.
    where, words = f"{argument}[{index}]", len(example.text.split())
    shown = f"{words} word{'' if words == 1 else 's'}"
    ids = tuple(int(i) for i in encode(example.text)) if example.text.strip() else ()
    special = model.vocabulary.special
    if not any(i not in special for i in ids):
        raise BadInput(where, shown, "is an empty sentence: it has no token of its own", "fill it in or drop it")
    if len(ids) > model.max_length:
        rule = f"has {len(ids)} tokens where {model.name} takes {model.max_length}"
        raise BadInput(where, shown, rule, "shorten it or drop it")
    beyond = [i for i in ids if not 0 <= i < model.vocabulary.size]
    if beyond:
        rule = f"has the token id {beyond[0]} where {model.name} has {model.vocabulary.size} tokens"
        raise BadInput(where, shown, rule, "use the tokenizer that was trained with the model")
    if model.classes is None and len(ids) < 2:
        raise BadInput(where, shown, "is one token long, so that there is no next token", "lengthen it or drop it")
    if model.classes is not None and not 0 <= example.label < model.classes:
        rule = f"has the label {example.label} where {model.name} has {model.classes} classes"
        raise BadInput(where, shown, rule, "use labels from 0, or a model with more classes")
    return ids


def _batch(examples: Sequence[Example], encoded: Sequence[tuple[int, ...]], model: PublicModel) -> Secret:
    longest = max(map(len, encoded))
    filling = model.vocabulary.pad or 0
    ids = torch.tensor([[*row, *[filling] * (longest - len(row))] for row in encoded])
    mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in encoded])
    labels: Tensor | None = None
    if model.classes is not None:
        labels = torch.tensor([example.label for example in examples])
    return Secret(ids=ids, mask=mask, labels=labels, texts=tuple(example.text for example in examples))
