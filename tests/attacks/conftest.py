"""Tiny random encoders with a vocabulary of 100 words, built in memory."""

from collections.abc import Callable, Iterator

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from unmask.observation import Knowledge, Observation
from unmask.victims import hf

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
Observe = Callable[..., tuple[Observation, torch.Tensor]]


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from a second thread, and wait for it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def encoder(layers: int, width: int, spread: float = 0.3, dtype: torch.dtype = torch.float32) -> hf.Loaded:
    words = SPECIAL + [f"w{i}" for i in range(96)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100, hidden_size=width, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=24, num_labels=3, pad_token_id=0, initializer_range=spread, attn_implementation="eager",
    )  # fmt: skip
    network = BertForSequenceClassification(config).to(dtype)
    return hf.wrap(network, fast, name=f"tiny-{layers}", causal_lm=False)


@pytest.fixture(scope="session")
def tiny() -> hf.Loaded:
    return encoder(2, 32)


@pytest.fixture(scope="session")
def deep() -> hf.Loaded:
    """Three layers, so that one lies between the first and the last; wide enough for three sentences."""
    return encoder(3, 48, 0.15)


@pytest.fixture(scope="session")
def precise() -> hf.Loaded:
    """The same in float64, where equal means equal."""
    return encoder(3, 48, 0.15, torch.float64)


@pytest.fixture
def observe(tiny: hf.Loaded) -> Observe:
    """Return a function that turns texts into an observation and the true ids (B, n)."""

    def make(
        texts: list[str],
        true_labels: list[int],
        names: list[str],
        *,
        rounded: str = "float32",
        who: hf.Loaded = tiny,
        **known: object,
    ) -> tuple[Observation, torch.Tensor]:
        ids = torch.tensor([who.encode(text) for text in texts])
        places = [place for place in who.model.places if place.name in names]
        assert len(places) == len(names)
        found = who.model.gradients(ids, torch.tensor(true_labels), places)
        tensors = {name: value.mean(0).to(getattr(torch, rounded)).float() for name, value in found.items()}
        facts = {"labels": tuple(true_labels), "lengths": (ids.shape[1],) * len(ids), **known}
        knowledge = Knowledge(batch=len(ids), dtype=rounded, **facts)
        return Observation(tensors=tensors, model=who.model, knowledge=knowledge), ids

    return make
