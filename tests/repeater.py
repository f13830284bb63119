"""A causal model that repeats: after a word it expects what followed the same word before."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unmask.victims.module import Subject, wrap_module

WORDS = "<s> note again john mary lives at oak street soup was cold call me after six tom takes two pills".split()
SURE = 6.0


class Repeater(nn.Module):
    """Logits of the next word: `SURE` for what followed the last earlier occurrence of this one, else zero."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding.from_pretrained(torch.eye(len(WORDS)))

    def forward(self, ids: Tensor) -> Tensor:
        own = self.tokens(ids)
        count = ids.shape[1]
        same = (own @ own.transpose(1, 2)).tril(-1)
        latest = (same * torch.arange(1, count + 1)).argmax(-1)
        followed = own.gather(1, (latest + 1).clamp(max=count - 1)[..., None].expand_as(own))
        return SURE * followed * (same.amax(-1, keepdim=True) > 0)


def encode(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split() if word in WORDS]


def decode(ids: Sequence[int]) -> str:
    return " ".join(WORDS[i] for i in ids)


def subject() -> Subject:
    """Return the model with its tokenizer."""
    return wrap_module(
        Repeater(), encode=encode, decode=decode, vocabulary_size=len(WORDS), special=(0,), max_length=60
    )
