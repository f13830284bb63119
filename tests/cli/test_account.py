"""`unmask account`: what noise promises, and how much of it a promise needs."""

import json

import pytest

from unmask.privacy.mechanisms.attention_release import AttentionRelease


def test_the_ridge_for_an_epsilon_gives_that_epsilon_back(run) -> None:
    _, out, _ = run("account", "dp-attention", "--radius", "0.1", "--epsilon", "1", "--json")
    found = json.loads(out)
    assert found["claim"]["epsilon"] == pytest.approx(1.0, rel=1e-6)
    twin = AttentionRelease(radius=0.1, ridge=found["ridge"], draws=1024, delta=1e-5).guarantee()
    assert twin.epsilon == found["claim"]["epsilon"]
    code, out, _ = run("account", "dp-attention", "--radius", "0.1", "--ridge", str(found["ridge"]))
    assert code == 0 and "one matrix, one head" in out and "73.1%" in out


def test_the_noise_for_an_epsilon_keeps_it(run) -> None:
    pytest.importorskip("dp_accounting")
    given = ("account", "dp-sgd", "--rate", "0.05", "--steps", "40")
    _, out, _ = run(*given, "--epsilon", "3", "--json")
    noise = json.loads(out)["noise_multiplier"]
    _, out, _ = run(*given, "--noise", str(noise), "--json")
    assert 2.9 < json.loads(out)["claim"]["epsilon"] <= 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("dp-attention", "--epsilon", "1"), "--radius 'nothing' is needed"),
        (("dp-sgd", "--rate", "0.1", "--steps", "3"), "--epsilon or --noise 'nothing' has to be exactly one"),
        (("dp-sgd", "--rate", "2", "--steps", "3", "--noise", "1"), "rate 2.0 is not in (0, 1]"),
        (("dp-attention", "--radius", "1", "--ridge", "-1"), "ridge"),
        (("dp-attention", "--radius", "1", "--epsilon", "1", "--prior", "2"), "--prior 2.0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, given: tuple[str, ...], said: str) -> None:
    code, out, error = run("account", *given)
    assert (code, out) == (2, "") and said in error and error.count("\n") == 1
