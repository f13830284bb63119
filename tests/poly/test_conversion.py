"""Conversion in stages: resumable to the bit, refuses what it cannot do, and ends in the network that it trained."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import tiny, vit
from unmask.cli import main
from unmask.errors import BadInput
from unmask.poly.conversion.checkpoint import restore
from unmask.poly.conversion.data import Data, Part, judge
from unmask.poly.conversion.depth import choose, degrees_of, depth, fixed_levels, least
from unmask.poly.conversion.fit import fit
from unmask.poly.conversion.ranges import Penalty, Range, measure, sites, watching
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.stages import Plan, convert, held_ranges
from unmask.poly.conversion.training import RangeExploded, train
from unmask.poly.layers.activation import Activation
from unmask.poly.layers.fold import fold
from unmask.poly.layers.norm import FeatureNorm
from unmask.poly.layers.transformer import Form, Transformer
from unmask.poly.storage import load_network
from unmask.rng import generator
from unmask.victims.polynomial import from_bert, from_vit, refuse_unknown
from unmask.victims.vit import fresh

FORM = Form(inputs=6, tokens=4, width=8, heads=2, hidden=12, classes=3, layers=1)
RUN = Schedule(epochs=2, batch=16, learning_rate=5e-3)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    # Tensors here are so small that a second thread only waits.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data(count: int = 192) -> Data:
    """Tokens around one of three centres: learnable in a few steps."""
    draw = generator(0, "data")
    targets = torch.randint(3, (count,), generator=draw)
    centres = 1.5 * torch.randn(3, 4, 6, generator=draw)
    inputs = centres[targets] + torch.randn(count, 4, 6, generator=draw)
    return Data(
        train=Part(inputs=inputs[48:], targets=targets[48:]), held=Part(inputs=inputs[:48], targets=targets[:48])
    )


def test_every_stage_reports_and_the_folded_network_classifies_as_the_model(tmp_path: Path) -> None:
    model, given = Transformer(FORM, generator(0)), data()
    plan = Plan(degrees={"gelu": 2}, replaced=replace(RUN, epochs=4), ranged=RUN, tuned=replace(RUN, frozen=0.5))
    stages = convert(model, given, plan, tmp_path)
    assert [stage.name for stage in stages] == ["replace", "range", "substitute", "polynomial", "intervals"]
    assert stages[0].metric["accuracy"] > 0.6 and stages[-1].metric["accuracy"] > 0.6
    network = fold(model.eval())
    inputs = given.held.inputs
    trace = network.trace(inputs.double().numpy())
    np.testing.assert_allclose(trace["logits"], model(inputs).detach().numpy(), atol=1e-4)
    for name, polynomial in network.polynomials().items():
        assert polynomial.degree == 2 and polynomial.outside(trace[name]) == 0.0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["replace"] * 4 + ["range"] * 2 + ["polynomial"] * 2
    again = Transformer(FORM, generator(1))
    assert convert(again, given, plan, tmp_path) == stages  # read, not trained again
    assert torch.equal(again.eval()(inputs), model(inputs))


def test_a_run_that_was_cut_off_ends_where_the_whole_run_does(tmp_path: Path) -> None:
    given, long = data(), replace(RUN, epochs=3)
    whole = Transformer(FORM, generator(0))
    train(whole, given, long, tmp_path / "whole", "a")
    cut = Transformer(FORM, generator(0))
    calls = 0

    class Cut(RuntimeError):
        pass

    def stop(line: str) -> None:
        nonlocal calls
        calls += '"epoch": 2' in line
        if calls:
            raise Cut

    with pytest.raises(Cut):
        train(cut, given, long, tmp_path / "cut", "a", say=stop)
    resumed = Transformer(FORM, generator(5))
    train(resumed, given, long, tmp_path / "cut", "a")
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_range_training_lowers_the_ranges_that_training_without_it_keeps(tmp_path: Path) -> None:
    given = data()
    largest = {}
    for name, weight in (("off", 0.0), ("on", 1.0)):
        model = Transformer(replace(FORM, extra_norms=False), generator(0))
        with torch.no_grad():
            for block in model.blocks:
                block.feed_forward.rise.weight.mul_(8)
        train(model, given, replace(RUN, epochs=6), tmp_path / name, "a", penalty=Penalty(weight=weight, ceiling=2.0))
        largest[name] = max(seen.magnitude for seen in held_ranges(model, given).values())
    assert largest["on"] < 0.7 * largest["off"]


def test_penalty_is_zero_inside_and_grows_outside_on_both_ends_of_a_variance() -> None:
    penalty = Penalty(weight=1.0, ceiling=3.0, variance_weight=1.0, variance_floor=0.5, variance_ceiling=10.0)
    gelu, root = Activation("gelu"), Activation("inverse-sqrt")
    assert float(penalty({"a": (gelu, torch.full((4, 2), 2.9)), "b": (root, torch.full((4, 1), 1.0))})) == 0.0
    x = torch.tensor([[0.0, 1.0], [-5.0, 1.0], [4.0, 0.0]], requires_grad=True)
    found = penalty({"a": (gelu, x)})
    assert 1.5 < float(found.detach()) < 2.0  # a soft maximum of 0, 2 and 1
    found.backward()
    assert x.grad is not None and float(x.grad[1, 0]) < float(-x.grad[2, 0]) < 0.0 and float(x.grad[0].abs().max()) == 0
    for variance in (0.25, 20.0):
        found = penalty({"b": (root, torch.full((4, 1), variance))})
        assert float(found) == pytest.approx(np.log(2.0), rel=1e-5)


def test_a_range_that_explodes_stops_the_stage_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    given, model = data(), Transformer(FORM, generator(0))
    train(model, given, replace(RUN, epochs=1), tmp_path, "range")
    with torch.no_grad():
        model.blocks[0].feed_forward.norm.weight.fill_(1e6)
    with pytest.raises(RangeExploded, match=r"'broken' stopped: blocks.0.feed_forward.activation received .*e\+0"):
        train(model, given, RUN, tmp_path, "broken")
    kept = Transformer(FORM, generator(9))
    restore(tmp_path / "range.safetensors", kept)
    assert judge(kept, given, given.held)["loss"] < 5.0


def test_bad_data_and_plans_are_refused_before_any_work(tmp_path: Path) -> None:
    model = Transformer(FORM, generator(0))
    for wrong in (
        lambda: Part(inputs=torch.full((3, 2), torch.nan), targets=torch.zeros(3).long()),
        lambda: Part(inputs=torch.zeros(3, 2), targets=torch.zeros(2).long()),
        lambda: Plan(degrees={"gelu": 0}),
        lambda: Plan(margin=0.5),
        lambda: Schedule(epochs=0),
        lambda: convert(model, data(), Plan(degrees={"relu": 2}), tmp_path),
        lambda: convert(model, data(), Plan(budget=11), tmp_path),
        lambda: convert(layered(), data(), Plan(budget=21), tmp_path),
    ):
        with pytest.raises(BadInput):
            wrong()
    assert not list(tmp_path.iterdir())


def layered() -> Transformer:
    """A model whose norms do not fold."""
    return Transformer(replace(FORM, norm="layer"), generator(0))


def test_depth_budget_is_met_and_the_least_is_named() -> None:
    model, given = Transformer(FORM, generator(0)), data()
    x = given.held.inputs
    assert least(model, x) == 12  # embedding, 6 + 1, 2 + 1, head
    with pytest.raises(BadInput, match="below 12, the least"):
        choose(model, held_ranges(model, given), 11, x)
    errors, sizes = [], []
    for budget in (12, 13, 16):
        found = choose(model, held_ranges(model, given), budget, x)
        degrees = {path: polynomial.degree for path, polynomial in found.polynomials.items()}
        assert depth(model, degrees, x) <= budget
        errors.append(found.error)
        sizes.append(sum(degrees.values()))
    assert errors == sorted(errors, reverse=True) and sizes[0] == 4 < sizes[1]
    with pytest.raises(BadInput, match="no polynomial in its place"):
        degrees_of(model)
    # Embedding, attention (maps, scores, mixing, output), feed-forward, head; three norms, each of which squares,
    # multiplies and has a gain.
    assert fixed_levels(layered(), x[:2]) == 1 + 4 + 2 + 1 + 3 * 3


def test_predicted_error_of_the_logits_is_near_the_measured_one() -> None:
    model, given = Transformer(FORM, generator(0)), data()
    model(given.train.inputs)  # statistics of the batch norms
    model.eval()
    x, seen = given.held.inputs, held_ranges(model, given)
    for budget in (16, 18):
        before = model(x).detach()
        chosen, copy = choose(model, seen, budget, x), Transformer(FORM, generator(1))
        copy.load_state_dict(model.state_dict())
        for path, site in sites(copy).items():
            site.substitute(chosen.polynomials[path])
        measured = float((copy.eval()(x).detach() - before).square().mean().sqrt())
        assert 0.5 < measured / chosen.error < 2.0


def test_watching_sees_each_site_and_ranges_refuse_nan() -> None:
    model = Transformer(FORM, generator(0))
    with watching(model) as seen:
        model(data().held.inputs)
    assert list(seen) == list(sites(model)) and len(seen) == 2
    with pytest.raises(BadInput, match=r"blocks.0.attention.weights.activation.*not finite"):
        measure(model, [torch.full((2, 4, 6), torch.nan)], generator(0))
    wide = Range(low=0.2, high=8.0, sample=torch.zeros(1)).widened(1.5)
    assert wide == pytest.approx((0.2 / 1.5, 12.0))  # by a factor, where the middle and 1.5 halves would pass zero
    for low in (4.0, -4.0):
        near = Range(low=low, high=8.0, sample=torch.zeros(1)).widened(1.5)
        assert near == pytest.approx((low - 0.25 * (8.0 - low), 8.0 + 0.25 * (8.0 - low)))


def test_plain_vision_transformer_starts_with_its_own_tokens() -> None:
    module = fresh(vit.TINY, generator(0, "own"))
    original = from_vit(module, generator(1))
    pixels = torch.rand(5, 1, 8, 8, generator=generator(2))
    tokens = original.model.embedding(original.prepare(pixels)) + original.model.place
    torch.testing.assert_close(tokens, module.embedding(pixels))
    torch.testing.assert_close(original.teacher(pixels), module(pixels))
    assert original.model(original.prepare(pixels)).shape == (5, 3)


def test_bert_classifier_converts_from_looked_up_embeddings_and_folds() -> None:
    loaded = tiny.fresh("bert", classifier=True)
    pad = loaded.model.vocabulary.pad
    assert pad is not None
    original = from_bert(loaded.model.module, tokens=9, classes=2, pad=pad, draw=generator(0))
    rows = [list(loaded.encode(text)) for text, _ in tiny.TEXTS]
    ids = torch.tensor([row + [pad] * (9 - len(row)) for row in rows])
    x = original.prepare(ids)
    assert original.model.form.order == "post" and x.shape == (3, 9, tiny.WIDTH)
    own = dict(loaded.model.module.named_parameters())
    query = next(value for name, value in own.items() if name.endswith("layer.1.attention.self.query.weight"))
    assert torch.equal(original.model.blocks[1].attention.query.weight, query)
    original.model(x)
    given = Data(
        train=Part(inputs=ids, targets=torch.tensor([1, 0, 1])),
        held=Part(inputs=ids, targets=torch.ones(3).long()),
        prepare=original.prepare,
    )
    seen = held_ranges(original.model, given)
    degrees = {path: each.degree for path, each in choose(original.model, seen, 40, x).polynomials.items()}
    assert depth(original.model, degrees, x) <= 40
    single = loaded.model.module(input_ids=ids[2:, :6], attention_mask=torch.ones(1, 6)).logits
    torch.testing.assert_close(original.teacher(ids)[2:], single, atol=1e-5, rtol=1e-5)


def test_unknown_operator_is_named_by_its_path() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Softplus()))
    with pytest.raises(BadInput, match=r"'Softplus' at 1.0 has no polynomial form"):
        refuse_unknown(module)
    with pytest.raises(BadInput, match="give a classifier of the BERT type"):
        from_bert(torch.nn.Linear(2, 2), tokens=4, classes=2, pad=0, draw=generator(0))


def test_command_converts_a_bert_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = tiny.fresh("bert", classifier=True)
    loaded.model.module.save_pretrained(tmp_path / "bert")
    loaded.tokenizer.save_pretrained(tmp_path / "bert")
    sentences = tmp_path / "data.jsonl"
    rows = [{"text": text, "label": label} for text, label in tiny.TEXTS] * 20
    sentences.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    common = ["poly", "convert", str(tmp_path / "bert"), "--data", str(sentences), "--out", str(tmp_path / "out")]
    options = ["--attention", "scaled", "--epochs", "1,0,1", "--tokens", "8", "--batch", "18", "--json"]
    assert main([*common, "--depth-budget", "3", *options]) == 2
    assert "depth budget 3 is below" in capsys.readouterr().err
    assert main([*common, "--depth-budget", "24", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in told["stages"]] == ["replace", "substitute", "polynomial", "intervals"]
    network = load_network(tmp_path / "out" / "network")
    assert network.kind == "text" and network.embedding is None and network.tokens == 8
    assert told["depth"] <= 24


def test_command_names_a_model_that_is_none_and_a_budget_that_is_too_small(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["poly", "convert", "nowhere", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "MODEL 'nowhere' is no model" in capsys.readouterr().err
    wrong = ["--epochs", "3,2"]
    assert main(["poly", "convert", "vit-demo", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *wrong]) == 2
    assert "--epochs '3,2' is not three numbers" in capsys.readouterr().err


def test_bfloat16_narrows_the_maps_while_training_and_nothing_that_is_kept_or_judged(tmp_path: Path) -> None:
    given, seen = data(), []
    models = {}
    for precision in ("float32", "bfloat16"):
        model = Transformer(FORM, generator(0))
        model.head.register_forward_hook(lambda module, x, y: seen.append((module.training, y.dtype)))
        run = replace(RUN, epochs=4, precision=precision)
        train(model, given, run, tmp_path / precision, "a")
        models[precision] = model
    assert set(seen) == {
        (True, torch.float32),
        (False, torch.float32),
        (True, torch.bfloat16),
    }
    assert all(parameter.dtype is torch.float32 for parameter in models["bfloat16"].parameters())
    scores = {name: judge(model, given, given.held)["accuracy"] for name, model in models.items()}
    assert scores["bfloat16"] > 0.6 and abs(scores["bfloat16"] - scores["float32"]) < 0.1


def test_norms_and_polynomials_of_bfloat16_compute_in_float32() -> None:
    x = 3.0 * torch.randn(64, 8, generator=generator(0, "narrow"))
    site = Activation("gelu")
    site.substitute(fit("gelu", 7, Range(low=-12.0, high=12.0, sample=x.flatten())))
    for module in (site, FeatureNorm(8)):
        narrow = module(x.bfloat16())
        assert narrow.dtype is torch.float32
        torch.testing.assert_close(narrow, module(x.bfloat16().float()))
