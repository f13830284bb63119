import json

import numpy as np
import pytest

from tests.poly.networks import network
from unmask.cli import main
from unmask.poly.polynomial import Polynomial
from unmask.poly.storage import save_network


def test_fit_prints_error_bound_depth_and_products(capsys):
    assert main(["poly", "fit", "gelu", "--interval=-6,6", "--degree", "7"]) == 0
    printed = capsys.readouterr().out
    assert "error: 9.26" in printed
    assert "within 1.0" in printed
    assert "depth 3: 3 ciphertext products" in printed
    assert printed.count("\n") > 15


def test_fit_writes_what_can_be_read_again(tmp_path, capsys):
    out = tmp_path / "p.json"
    assert main(["poly", "fit", "exp", "--interval", "-1,0", "--degree", "4", "--json", "--out", str(out)]) == 0
    facts = json.loads(capsys.readouterr().out)
    found = Polynomial.from_json(json.loads(out.read_text()))
    assert facts["error"] == found.error
    assert facts["ratio"] <= 1.05
    assert np.abs(found(np.linspace(-1, 0, 99)) - np.exp(np.linspace(-1, 0, 99))).max() <= found.error


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["fit", "swish"], "swish"),
        (["fit", "gelu", "--interval", "1"], "--interval"),
        (["fit", "gelu", "--method", "taylor"], "--method"),
        (["fit", "inverse", "--interval", "0,1"], "interval"),
        (["fit", "gelu", "--out", "/nowhere/p.json"], "/nowhere"),
    ],
)
def test_bad_input_is_one_line_and_code_two(arguments, named, capsys):
    assert main(["poly", *arguments]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1


@pytest.fixture
def folder(tmp_path):
    net = network(0)
    save_network(net, tmp_path / "net")
    np.save(tmp_path / "x.npy", 0.5 * np.random.default_rng(0).standard_normal((40, net.tokens, net.inputs)))
    return tmp_path


def test_simulate_says_depth_error_and_ranges(folder, capsys):
    command = ["poly", "simulate", str(folder / "net"), "--data", str(folder / "x.npy")]
    assert main([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["depth"] == 20
    assert facts["measured_rms"] < 2 * facts["predicted_rms"] < 4 * facts["measured_rms"]
    assert main([*command, "--levels", "9", "--refreshed", "9"]) == 0
    assert "bootstrap main before" in capsys.readouterr().out


def test_simulate_refuses_too_few_levels_wrong_data_and_wide_ranges(folder, capsys):
    command = ["poly", "simulate", str(folder / "net"), "--data", str(folder / "x.npy")]
    assert main([*command, "--levels", "10"]) == 2
    assert "least for this network" in capsys.readouterr().err
    assert main([*command, "--share", "0.01"]) == 2
    assert "0.attention.scores" in capsys.readouterr().err
    np.save(folder / "bad.npy", np.zeros((3, 2)))
    assert main([*command[:-1], str(folder / "bad.npy")]) == 2
    assert "--data" in capsys.readouterr().err
