"""A user's own module, with nothing of this project's in it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.stubs import TableSpan
from unmask.api import audit
from unmask.errors import BadInput
from unmask.public import Component, Kind
from unmask.victims.module import wrap_module

WORDS = ["<pad>", "<s>", *"john lives at oak street soup was cold call me after six the of and to a in".split()]


def encode(text: str) -> list[int]:
    return [1, *[WORDS.index(word) for word in text.split() if word in WORDS[2:]]]


def decode(ids: Sequence[int]) -> str:
    return " ".join(WORDS[i] for i in ids)


class Mixer(nn.Module):
    """Embedding, norm, two linear maps with a mean in between."""

    def __init__(self, *, language: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(len(WORDS), 24)
        self.where = nn.Embedding(40, 24)
        self.norm = nn.LayerNorm(24)
        self.layers = nn.ModuleList([nn.ModuleDict({"query": nn.Linear(24, 24), "fc1": nn.Linear(24, 16)})])
        self.out = nn.Linear(16, len(WORDS) if language else 3)
        self.language = language

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.tokens(ids) + self.where(torch.arange(ids.shape[1])))
        mixed = torch.tanh(self.layers[0]["query"](x))
        count = torch.arange(1, ids.shape[1] + 1)[:, None]
        mixed = mixed.cumsum(1) / count if self.language else mixed.mean(1, keepdim=True) + mixed
        hidden = torch.tanh(self.layers[0]["fc1"](mixed))
        return self.out(hidden) if self.language else self.out(hidden.mean(1))


def _wrap(module: nn.Module, **settings: object):
    settings = {"vocabulary_size": len(WORDS), "prefix": (1,), "special": (0,), "max_length": 40, **settings}
    return wrap_module(module, encode=encode, decode=decode, **settings)


def test_parts_are_found_by_trying() -> None:
    model = _wrap(Mixer()).model
    assert model.classes == 3
    assert not model.causal
    assert model.token_embedding == "tokens"
    query = next(place for place in model.places if place.component is Component.QUERY and place.kind is Kind.WEIGHT)
    assert query.layer == 0
    table = model.input_table(query)
    assert table is not None
    ids = torch.tensor([encode("john lives at oak street")])
    torch.testing.assert_close(
        table.rows(ids[0], torch.arange(6)), model.inputs(ids, [query])[query.name][0], rtol=1e-4, atol=1e-5
    )


def test_next_token_prediction_and_its_direction_are_found() -> None:
    model = _wrap(Mixer(language=True)).model
    assert model.classes is None
    assert model.causal
    assert model.next_token_logits(torch.tensor([[1, 2, 3]])).shape == (1, len(WORDS))


def test_it_is_audited_like_any_other(tmp_path: Path) -> None:
    result = audit(
        _wrap(Mixer()),
        ["john lives at oak street", "soup was cold"],
        labels=[2, 0],
        select="0.query",
        attacks=[TableSpan()],
        out=tmp_path / "run",
        show_private=True,
    )
    assert result.leak == 1
    assert result.finished.records[0].texts.recovered == ("john lives at oak street",)
    assert result.report().is_file()


def test_a_mask_can_be_passed_on() -> None:
    seen: list[Tensor | None] = []

    def call(module: nn.Module, ids: Tensor, mask: Tensor | None) -> Tensor:
        seen.append(mask)
        return module(ids)

    model = _wrap(Mixer(), call=call).model
    mask = torch.tensor([[True, True, False]])
    model.gradients(torch.tensor([[1, 2, 0]]), torch.tensor([0]), model.places[:1], mask=mask)
    assert seen[-1] is mask


def test_unequal_lengths_need_a_filling_or_a_mask() -> None:
    model = _wrap(Mixer()).model
    mask = torch.tensor([[True, True, False]])
    with pytest.raises(BadInput, match="unequal length"):
        model.gradients(torch.tensor([[1, 2, 0]]), torch.tensor([0]), model.places[:1], mask=mask)
    model = _wrap(Mixer(), pad=0).model
    assert model.gradients(torch.tensor([[1, 2, 0]]), torch.tensor([0]), model.places[:1], mask=mask)


@pytest.mark.parametrize(
    ("module", "settings", "words"),
    [
        (nn.Linear(6, 2), {}, "cannot be called on ids"),
        (nn.Sequential(nn.Embedding(5, 4)), {}, "cannot be called|no nn.Embedding"),
        (nn.Sequential(nn.Embedding(30, 4), nn.Flatten(0)), {}, "logits of shape"),
    ],
)
def test_modules_that_cannot_be_audited(module: nn.Module, settings: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        _wrap(module, **settings)
