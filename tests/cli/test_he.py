"""`unmask he` from end to end, on the simulator: compile, keygen, serve, query."""

import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra he is not installed")

import uvicorn
from safetensors.numpy import save_file

from unmask.cli import main
from unmask.he import served
from unmask.he.server.app import build
from unmask.he.server.limits import Limits
from unmask.poly import demo

EDGE = 28


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The bundled network compiled, keys made, and a server that runs."""
    folder = tmp_path_factory.mktemp("he")
    package, keys = folder / "package", folder / "keys"
    # Without calibration inputs a package knows no range, and nothing is refused.
    seen = folder / "seen.safetensors"
    save_file({"inputs": np.random.default_rng(1).choice([0.0, 1.0], (2, 16, 49))}, seen)
    made = ["he", "compile", str(demo.directory()), "--out", str(package), "--calibration", str(seen)]
    assert main(made) == 0
    (folder / "client").mkdir()
    (folder / "client" / "package.json").write_bytes((package / "package.json").read_bytes())
    assert main(["he", "keygen", str(folder / "client"), "--out", str(keys), "--backend", "simulator"]) == 0
    app = build(served.load(package), "simulator", folder / "state", Limits())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield folder, address
    server.should_exit = True
    thread.join()


def asked(site, capsys, data, *more):
    folder, address = site
    np.save(folder / "x.npy", data)
    arguments = ["he", "query", str(folder / "client"), "--data", str(folder / "x.npy"), "--server", address]
    code = main([*arguments, "--keys", str(folder / "keys"), *more])
    return code, capsys.readouterr()


def images(count):
    return np.random.default_rng(0).integers(0, 256, (count, EDGE, EDGE), dtype=np.uint8)


def test_a_client_without_weights_gets_the_classes_of_the_network(site, capsys):
    network, pixels = demo.network(), images(3)
    x = (pixels.reshape(-1, 4, 7, 4, 7) / 255).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 49)
    code, said = asked(site, capsys, pixels, "--json")
    assert code == 0, said.err
    found = json.loads(said.out)
    np.testing.assert_allclose(found["outputs"], network.forward(x), atol=1e-2)
    assert [best[0][0] for best in found["top"]] == [network.classes[k] for k in network.forward(x).argmax(-1)]


@pytest.mark.parametrize(
    ("data", "more", "words"),
    [
        (np.full((1, 16, 49), 7.0), (), "range"),
        (np.zeros((1, 5, 5), dtype=np.uint8), (), "28 x 28"),
        (np.zeros((1, 16, 49)), ("--item", "4"), "--item"),
        (np.zeros((1, 16, 49)), ("--server", "http://127.0.0.1:9"), "unmask he serve"),
        (np.zeros((1, 16, 49)), ("--keys", "/nowhere"), "unmask he keygen"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(site, capsys, data, more, words):
    code, said = asked(site, capsys, data, *more)
    assert code == 2
    assert words in said.err and said.err.count("\n") == 1


def test_keys_are_not_overwritten_and_packages_are_told_apart(site, capsys):
    folder, _ = site
    assert main(["he", "keygen", str(folder / "client"), "--out", str(folder / "keys"), "--backend", "simulator"]) == 2
    assert "holds keys already" in capsys.readouterr().err
    assert main(["he", "keygen", str(folder), "--out", str(folder / "new")]) == 2
    assert "holds no package" in capsys.readouterr().err
    assert main(["he", "keygen", str(folder / "client"), "--out", str(folder / "new"), "--backend", "seal"]) == 2
    assert "choose openfhe, simulator" in capsys.readouterr().err


def test_a_trace_draws_the_run_and_keeps_no_key(site, tmp_path, capsys):
    folder, _ = site
    out, data = tmp_path / "trace", tmp_path / "x.npy"
    np.save(data, images(1) // 255)
    arguments = ["he", "trace", str(folder / "package"), "--data", str(data), "--out", str(out)]
    assert main([*arguments, "--backend", "simulator", "--json"]) == 0
    assert "simulated" in json.loads(capsys.readouterr().out)["sentence"]
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "trace.json"]
    assert main([*arguments, "--backend", "seal"]) == 2


def test_outputs_to_be_shared_get_noise_and_no_more_of_them_than_announced(site, capsys):
    plain = json.loads(asked(site, capsys, images(2), "--json")[1].out)["outputs"]
    code, said = asked(site, capsys, images(2), "--json", "--share", "0.1", "--error", "0.01")
    assert code == 0 and "deviation 1" in said.err
    gap = np.array(json.loads(said.out)["outputs"]) - plain
    assert 0.3 < gap.std() < 2
    code, said = asked(site, capsys, images(2), "--share", "0.1", "--values", "19")
    assert code == 2 and "20 outputs" in said.err
