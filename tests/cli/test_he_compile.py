"""`unmask he plan` and `compile` from a folder to a folder."""

import json

from tests.poly.networks import network
from unmask.cli import main
from unmask.he.package import load_package
from unmask.poly.storage import save_network


def test_plan_and_compile(tmp_path, capsys):
    save_network(network(layers=1), tmp_path / "net")
    assert main(["he", "plan", str(tmp_path / "net"), "--ring", "15", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["counts"]["rotations"] > 0 and planned["memory"] > 0 and not planned["counts"]["bootstraps"]
    assert main(["he", "compile", str(tmp_path / "net"), "--ring", "15", "--out", str(tmp_path / "package")]) == 0
    assert "128-bit security" in capsys.readouterr().out
    package = load_package(tmp_path / "package")
    assert package.parameters.to_json() == planned["parameters"]
    assert len(package.program.rotations) == planned["keys"]


def test_bad_input_is_one_line(tmp_path, capsys):
    assert main(["he", "plan", str(tmp_path)]) == 2
    assert "holds no polynomial network" in capsys.readouterr().err
    save_network(network(layers=1), tmp_path / "net")
    assert main(["he", "plan", str(tmp_path / "net"), "--ring", "15", "--memory", "0.1"]) == 2
    assert "allow more" in capsys.readouterr().err
    assert main(["he", "plan", str(tmp_path / "net"), "--calibration", str(tmp_path / "none")]) == 2
    assert "--calibration" in capsys.readouterr().err
