"""Tiny random transformers of every supported family, and a tokenizer of whole words for them."""

from functools import cache

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from unmask.victim import Victim
from unmask.victims import hf
from unmask.victims.corpora import Example
from unmask.victims.mechanism import TorchMechanism
from unmask.victims.secrets import secrets

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = (
    "the of and to a in is it john mary ann lives at oak street paris rome takes two pills daily call me after six "
    "soup was cold never again please bring milk eggs bread doctor said rest knee hurts since monday"
).split()
ENCODERS = ("bert", "roberta", "distilbert")
DECODERS = ("gpt2", "llama")
FAMILIES = (*ENCODERS, *DECODERS)
WIDTH = 32
TEXTS = (("john lives at oak street", 1), ("soup was cold", 0), ("call me after six", 1))


def tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer that puts [CLS] and [SEP] around a sentence for an encoder, [CLS] before it for Llama."""
    vocabulary = {piece: index for index, piece in enumerate((*SPECIAL, *WORDS))}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    if family != "gpt2":
        template = "[CLS] $A" if family == "llama" else "[CLS] $A [SEP]"
        raw.post_processor = TemplateProcessing(single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=40,
    )


def network(family: str, *, classifier: bool = False, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Return a random model of two layers, always the same."""
    torch.manual_seed(0)
    size = len(SPECIAL) + len(WORDS)
    common = {"vocab_size": size, "pad_token_id": 0, "attn_implementation": "eager", "initializer_range": 0.2}
    bert = {**common, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    if family == "bert":
        made = BertForSequenceClassification(BertConfig(**bert, max_position_embeddings=40))
    elif family == "roberta":
        made = RobertaForSequenceClassification(RobertaConfig(**bert, max_position_embeddings=42, type_vocab_size=1))
    elif family == "distilbert":
        config = DistilBertConfig(**common, dim=WIDTH, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=40)
        made = DistilBertForSequenceClassification(config)
    elif family == "gpt2":
        config = GPT2Config(**common, n_embd=WIDTH, n_layer=2, n_head=4, n_inner=48, n_positions=40)
        made = GPT2ForSequenceClassification(config) if classifier else GPT2LMHeadModel(config)
    else:
        made = LlamaForCausalLM(
            LlamaConfig(**bert, num_key_value_heads=2, max_position_embeddings=40, tie_word_embeddings=False)
        )
    # Random biases and gains, so that nothing is right only because they are zero or one.
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return made.to(dtype).eval()


def fresh(family: str, *, classifier: bool = False, dtype: torch.dtype = torch.float32) -> hf.Loaded:
    """Return a new public model with its tokenizer."""
    made = network(family, classifier=classifier, dtype=dtype)
    causal_lm = family in DECODERS and not classifier
    return hf.wrap(made, tokenizer(family), name=f"tiny-{family}", causal_lm=causal_lm)


@cache
def loaded(family: str) -> hf.Loaded:
    """Return the public model with its tokenizer; shared, because nothing changes it."""
    return fresh(family)


def victim(family: str, count: int = 3, *, fresh_model: bool = False) -> Victim:
    """Return a victim whose secret is a batch of the first `count` of `TEXTS`."""
    who = fresh(family) if fresh_model else loaded(family)
    examples = [Example(text=text, label=label, kind="test") for text, label in TEXTS[:count]]
    (secret,) = secrets(examples, who.model, who.encode, batch=count)
    return Victim(model=who.model, mechanism=TorchMechanism(model=who.model), secret=secret)
