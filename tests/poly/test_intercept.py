"""Modules of other authors: their functions are caught, their levels counted, and what is no polynomial is named."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev
from torch import Tensor, nn

from tests import tiny, vit
from unmask.cli import main
from unmask.errors import BadInput
from unmask.poly.conversion.data import Data, Part
from unmask.poly.conversion.depth import degrees_of, fixed_levels, least
from unmask.poly.conversion.guard import guarded
from unmask.poly.conversion.intercept import Converted
from unmask.poly.conversion.levels import levels
from unmask.poly.conversion.ranges import Penalty, measure, sites
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.stages import Plan, convert
from unmask.poly.conversion.training import RangeExploded, train
from unmask.poly.fits import minimax
from unmask.poly.layers.activation import Activation
from unmask.poly.layers.forms import Norm, PowerSoftmax
from unmask.poly.layers.series import Series
from unmask.poly.layers.transformer import Form, Transformer
from unmask.rng import generator
from unmask.victims.pretrained import pictures, sentences

RUN = Schedule(epochs=1, batch=16, learning_rate=3e-4)
NEAR = 1024


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ids(count: int = 5) -> Tensor:
    """Token numbers, the first sentence padded."""
    found = torch.randint(4, 30, (count, 9), generator=generator(0, "ids"))
    found[0, 6:] = 0
    return found


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_library_models_with_powers_near_the_exponential_compute_what_they_did(family: str) -> None:
    start = sentences(tiny.fresh(family, classifier=family in tiny.ENCODERS))
    x, module = ids(), start.module
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    converted = Converted(module, start.call, x, client=start.client, power=NEAR).eval()
    with torch.no_grad():
        wanted, found = start.call(module, x), converted(x)
    seen = slice(1, None)  # a decoder that is not told about padding computes something at it, of no meaning
    torch.testing.assert_close(found[seen], wanted[seen], atol=0.02, rtol=0.02)
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in kept.items())
    functions = [site.function for site in sites(converted).values()]
    assert functions.count("inverse") == 2  # one soft-max a layer
    assert functions.count("silu" if family == "llama" else "gelu") == 2
    assert functions.count("inverse-sqrt") == {"gpt2": 5, "llama": 5}.get(family, 4)


@pytest.mark.parametrize("named", ["plain", "library"])
def test_vision_transformers_of_the_project_and_of_the_library(named: str) -> None:
    model = getattr(vit, named)()
    start = pictures(model)
    x = torch.rand(5, *model.shape, generator=generator(1))
    converted = Converted(start.module, start.call, x, power=NEAR).eval()
    torch.testing.assert_close(converted(x), start.call(start.module, x), atol=0.03, rtol=0.02)
    zero = dict.fromkeys(sites(converted), 2)
    # A layer: maps, scores, 10 squarings, mask, product, mixing, output; two norms of 2; rise and fall. A last norm,
    # embedding and head around; a quadratic at each of the nine sites.
    assert levels(converted, x[:1], zero) == 2 * (1 + 1 + 10 + 1 + 1 + 1 + 1 + 4 + 2) + 2 + 2 + 9


@pytest.mark.parametrize("first", [True, False])
def test_the_library_s_encoder_layers_are_caught_in_training_and_evaluation(first: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 3, 16, dropout=0.0, norm_first=first, batch_first=True, activation="gelu")
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    x, hidden = torch.randn(4, 5, 12, generator=generator(9)), torch.zeros(4, 5, dtype=torch.bool)
    hidden[0, 3:] = True
    converted = Converted(module, lambda m, x: m(x, src_key_padding_mask=hidden), x, power=NEAR)
    assert sum(isinstance(child, PowerSoftmax) for child in converted.modules()) == 2
    for training in (True, False):
        module.train(training)
        with torch.no_grad():
            wanted, found = module(x, src_key_padding_mask=hidden), converted.train(training)(x)
        torch.testing.assert_close(found[~hidden], wanted[~hidden], atol=0.01, rtol=0.01)
    assert fixed_levels(converted, x) == 2 * (1 + 1 + 10 + 1 + 1 + 1 + 1 + 4 + 2)


def test_the_project_s_own_decoder_hides_later_tokens_at_no_level_of_its_own() -> None:
    form = Form(kind="decoder", inputs=11, tokens=6, width=8, heads=2, hidden=8, classes=11, attention="softmax")
    model = Transformer(replace(form, norm="layer", pooling="all"), generator(4))
    x = torch.randint(11, (3, 6), generator=generator(5))
    converted = Converted(model, _first, x, client="embedding", power=NEAR).eval()
    torch.testing.assert_close(converted(x), model(x), atol=0.02, rtol=0.02)
    later = x.clone()
    later[:, 4:] = 0
    assert torch.equal(converted(later)[:, :4], converted(x)[:, :4])
    # As without a mask: maps, scores, soft-max (10 squarings, mask, product), mixing, output; two norms with their
    # gains; rise and fall.
    free = replace(form, kind="text", norm="layer", pooling="all")
    plain = Converted(Transformer(free, generator(4)), _first, torch.randn(3, 6, 11), power=NEAR)
    assert fixed_levels(converted, x) == fixed_levels(plain, torch.randn(3, 6, 11)) - 1  # the embedding is a map there


class Odd(nn.Module):
    """A module with one operation that may be no polynomial."""

    def __init__(self, which: str) -> None:
        super().__init__()
        self.which = which
        self.first, self.inner, self.last = nn.Linear(4, 4), nn.Sequential(nn.GELU()), nn.Linear(4, 2)
        self.part = Piece(which)

    def forward(self, x: Tensor) -> Tensor:
        """Return two numbers."""
        return self.last(self.part(self.inner(self.first(x))))


class Piece(nn.Module):
    """The operation."""

    def __init__(self, which: str) -> None:
        super().__init__()
        self.which = which

    def forward(self, x: Tensor) -> Tensor:
        """Return its result."""
        made = {
            "cube": lambda: x**3,
            "self": lambda: x * x,
            "number": lambda: 0.5 * x,
            "hole": lambda: x.masked_fill(torch.eye(4)[:3] == 1, 0.0),
            "secret": lambda: x.masked_fill(x > 0, 0.0),
            "largest": lambda: x - x.amax(-1, keepdim=True),
            "sort": lambda: x.sort(-1)[0],
            "divide": lambda: x / (1 + x * x),
        }
        return made[self.which]()


def _first(module: nn.Module, x: Tensor) -> Tensor:
    return module(x)


def test_operations_that_are_polynomials_are_counted_and_others_named_by_path() -> None:
    x = torch.randn(3, 4, generator=generator(2))
    for which, cost in (("cube", 2), ("self", 1), ("number", 0), ("hole", 1)):
        converted = Converted(Odd(which), _first, x)
        assert fixed_levels(converted, x) == 2 + cost
        assert levels(converted, x, {"module.inner.0.poly_gelu": 7}) == 2 + cost + 3
    for which, name in (("largest", "amax"), ("sort", "sort"), ("secret", "gt"), ("divide", "div")):
        with pytest.raises(BadInput, match=f"'part' computes {name}, which is no polynomial; write it as"):
            fixed_levels(Converted(Odd(which), _first, x), x)
    with pytest.raises(BadInput, match="calls no function"):
        Converted(nn.Linear(4, 2), _first, x)


def test_soft_max_over_another_axis_is_refused_and_a_new_path_named() -> None:
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.softmax(0) if x.shape[0] > 1 else x.softmax(-1).softmax(-1)

    with pytest.raises(BadInput, match="soft-max over axis 0"):
        Converted(nn.Sequential(Turned()), _first, torch.zeros(2, 3))
    once = Converted(nn.Sequential(nn.ReLU()), _first, torch.zeros(1, 3))
    once.module[0].forward = lambda x: torch.tanh(x)  # type: ignore[method-assign]
    with pytest.raises(BadInput, match="'0' calls tanh where the example did not"):
        once(torch.zeros(1, 3))


def test_power_soft_max_tends_to_the_soft_max_and_hides_what_is_masked() -> None:
    scores = 2.0 * torch.randn(6, 2, 5, 7, generator=generator(3), dtype=torch.float64)
    scores[..., 5:] = torch.finfo(torch.float32).min
    errors = []
    for power in (4, 16, 1024):
        site = PowerSoftmax(2, power, epsilon=1e-6)
        site.calibrate(scores)
        found = site(scores)
        assert float(found[..., 5:].abs().max()) == 0.0 and float(found.min()) >= 0.0
        torch.testing.assert_close(found.sum(-1), torch.ones(6, 2, 5), atol=1e-3, rtol=0)
        errors.append(float((found - scores.softmax(-1)).abs().max()))
    assert errors[0] > errors[1] > errors[2] < 0.01
    with pytest.raises(BadInput, match="is no power of two"):
        PowerSoftmax(2, 6)


def test_centred_powers_do_not_feel_what_is_added_to_a_row_and_divide_by_less() -> None:
    scores = torch.randn(6, 2, 5, 7, generator=generator(3), dtype=torch.float64)
    hidden = torch.arange(7) > torch.arange(5)[:, None]
    added = 6.0 * torch.randn(6, 2, 5, 1, generator=generator(4), dtype=torch.float64)
    reach = []
    for centred in (True, False):
        site = PowerSoftmax(2, 16, epsilon=1e-6, centred=centred)
        given = (scores + added).masked_fill(hidden, -torch.inf)
        site.calibrate(given)
        seen = measure(site, [given], generator(5))["inverse"]
        reach.append(seen.high / seen.low)
        if centred:
            alone = scores.masked_fill(hidden, -torch.inf)
            torch.testing.assert_close(site(given), site(alone), atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(site(given).double(), alone.softmax(-1), atol=0.06, rtol=0.0)
            slow = alone[1, 0, 3, :4] - alone[1, 0, 3, :4].mean()
            raised = (1 + float(site.gain[0].detach()) * (slow - float(site.centre[0].detach())) / 16) ** 16
            torch.testing.assert_close(site(given)[1, 0, 3, :4].double(), raised / raised.sum(), atol=1e-4, rtol=1e-4)
            assert site.levels(4) == PowerSoftmax(2, 16).levels(4) + 1
            again = PowerSoftmax(2, 16, epsilon=1e-6)
            again.load_state_dict(site.state_dict())
            assert torch.equal(again(given), site(given))
    assert reach[0] < 0.01 * reach[1]


def test_power_soft_max_is_its_formula_in_slow_motion() -> None:
    scores = torch.randn(2, 2, 3, 4, generator=generator(4))
    site = PowerSoftmax(2, 8, epsilon=0.01)
    site.calibrate(scores)
    found = site(scores).detach().double().numpy()
    for b, h, i in np.ndindex(2, 2, 3):
        a, c = float(site.gain[h]), float(site.centre[h])
        raised = [(1 + a * (float(s) - c) / 8) ** 8 for s in scores[b, h, i]]
        wanted = [value / (4 * (sum(raised) / 4 + 0.01)) for value in raised]
        np.testing.assert_allclose(found[b, h, i], wanted, rtol=1e-4)
    assert float(site.gain.max()) <= 1.0
    rows = [
        np.log(np.mean((1 + float(site.gain[0]) * (r.numpy() - float(site.centre[0])) / 8) ** 8))
        for r in scores[:, 0].detach().reshape(-1, 4)
    ]
    assert abs(float(np.mean(rows))) < 0.02


def test_norm_is_the_library_s_with_and_without_centring() -> None:
    x, gain, bias = (torch.randn(*shape, generator=generator(5)) for shape in ((4, 6), (6,), (6,)))
    torch.testing.assert_close(Norm()(x, gain, bias, 1e-5, True), nn.functional.layer_norm(x, (6,), gain, bias))
    torch.testing.assert_close(Norm()(x, gain, None, 1e-5, False), nn.functional.rms_norm(x, (6,), gain, 1e-5))


def test_series_and_its_gradients_are_those_of_the_recurrence() -> None:
    t = (2 * torch.rand(3, 40, generator=generator(6), dtype=torch.float64) - 1).requires_grad_()
    for degree in (0, 1, 2, 9):
        c = torch.randn(degree + 1, generator=generator(7), dtype=torch.float64).requires_grad_()
        found = Series.apply(t, c)
        np.testing.assert_allclose(
            found.detach().numpy(), chebyshev.chebval(t.detach().numpy(), c.detach().numpy()), atol=1e-12
        )
        assert torch.autograd.gradcheck(Series.apply, (t, c))


def pictured() -> Data:
    """Bright and dark images."""
    draw = generator(8)
    y = torch.randint(2, (96,), generator=draw)
    x = (0.5 * torch.rand(96, 1, 8, 8, generator=draw) + 0.5 * y[:, None, None, None]).clamp(0, 1)
    return Data(train=Part(inputs=x[24:], targets=y[24:]), held=Part(inputs=x[:24], targets=y[:24]))


def test_stages_end_in_polynomials_within_the_budget_and_say_what_each_costs(tmp_path: Path) -> None:
    given, start = pictured(), pictures(vit.plain())
    converted = Converted(start.module, start.call, given.train.inputs[:32], power=8)
    lowest = least(converted, given.held.inputs[:1])
    with pytest.raises(BadInput, match=f"depth budget {lowest - 1} is below {lowest}, the least"):
        convert(converted, given, Plan(budget=lowest - 1), tmp_path)
    plan = Plan(budget=lowest + 20, ranged=replace(RUN, epochs=2), tuned=replace(RUN, epochs=2), margin=1.4)
    stages = convert(converted, given, plan, tmp_path, teacher=lambda x: start.call(start.module, x))
    assert [stage.name for stage in stages] == ["range", "substitute", "polynomial", "intervals"]
    assert stages[0].levels == 0 and not stages[0].degrees
    assert lowest < stages[-1].levels <= lowest + 20 and stages[-1].degrees == degrees_of(converted)
    assert len(set(stages[-1].degrees.values())) > 1  # chosen site by site
    assert stages[-1].metric["accuracy"] > 0.9
    again = Converted(start.module, start.call, given.train.inputs[:32], power=8)
    assert convert(again, given, plan, tmp_path) == stages
    assert torch.equal(again.eval()(given.held.inputs), converted.eval()(given.held.inputs))


def test_settled_intervals_hold_what_polynomials_before_them_moved(tmp_path: Path) -> None:
    given, start = pictured(), pictures(vit.plain())
    everything = torch.cat([given.train.inputs, given.held.inputs])
    farthest = []
    for settle in (0, 2):
        converted = Converted(start.module, start.call, given.train.inputs[:32], power=8)
        degrees = {"inverse": 15, "inverse-sqrt": 31, "gelu": 5}
        convert(converted, given, Plan(degrees=degrees, margin=1.05, settle=settle), tmp_path / str(settle))
        farthest.append(float(guarded(converted, everything).farthest.max()))
    assert farthest[1] <= 1.0 < farthest[0]
    with pytest.raises(BadInput, match="settle -1 is negative"):
        Plan(settle=-1)


def test_ranges_of_later_sites_are_seen_though_an_earlier_one_is_left_far_behind() -> None:
    net = nn.Sequential(Activation("gelu"), Activation("gelu")).double()
    first = minimax("gelu", (-2.0, 2.0), 31)
    for child in net:
        child.substitute(first)  # type: ignore[operator]
    net.double()
    x = torch.linspace(-1.0, 40.0, 50, dtype=torch.float64)[:, None]
    with pytest.raises(BadInput, match=r"'1' receives values that are not finite"):
        measure(net, [torch.cat([x, 1e30 * x])], generator(0))
    found = measure(net, [x], generator(0), held=True)
    assert (found["0"].low, found["0"].high) == (-1.0, 40.0)
    assert found["1"].high == pytest.approx(float(first(np.array([2.0]))[0])) and found["1"].low > -0.2


def test_training_outside_of_an_interval_is_drawn_back_and_an_explosion_names_the_site(tmp_path: Path) -> None:
    site = Activation("inverse")
    site.substitute(minimax("inverse", (0.5, 2.0), 9))
    x = torch.full((2, 1), 30.0, requires_grad=True)
    assert site.train()(x).abs().max() < 1e3 < site.eval()(x).abs().max()
    penalty = Penalty(weight=1.0)({"a": (site, x)})
    penalty.backward()
    assert float(penalty.detach()) > 1.0 and x.grad is not None and float(x.grad.min()) > 0.0
    given, start = pictured(), pictures(vit.plain())
    converted = Converted(start.module, start.call, given.train.inputs[:32], power=8)
    plan = Plan(degrees={"inverse": 31, "inverse-sqrt": 63, "gelu": 15}, ranged=RUN)
    convert(converted, given, plan, tmp_path)
    with torch.no_grad():
        converted.module.get_submodule("blocks.1.mlp.fc1").weight.mul_(1e5)
    with pytest.raises(RangeExploded, match=r"module.blocks.1.mlp.poly_gelu received .*substitute.safetensors"):
        train(converted, given, RUN, tmp_path, "again")


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_command_keeps_the_layers_of_a_directory(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = tiny.fresh(family, classifier=family == "bert")
    loaded.model.module.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    lines = [json.dumps({"text": text, "label": label}) for text, label in tiny.TEXTS] * 40
    (tmp_path / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")
    common = ["poly", "convert", str(tmp_path / "model"), "--data", str(tmp_path / "data.jsonl")]
    common += ["--out", str(tmp_path / "out"), "--tokens", "8", "--epochs", "0,1,1", "--fine-tune", "2", "--json"]
    assert main([*common, "--depth-budget", "9"]) == 2
    assert "depth budget 9 is below" in capsys.readouterr().err
    assert main([*common, "--depth-budget", "90"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in told["stages"]] == ["range", "substitute", "polynomial", "intervals"]
    assert told["depth"] <= 90 and told["bootstraps"] >= 1 and len(told["degrees"]) == 9
    assert 0.0 <= told["inside"] <= 1.0 and (told["inside"] == 1.0) == (told["farthest"] <= 1.0)
    assert abs(told["stages"][-1]["metric"]["loss"] - told["original"]["loss"]) < 0.5
    assert main([*common[:-1], "--attention", "other"]) == 2
    assert "--attention 'other' is unknown" in capsys.readouterr().err
