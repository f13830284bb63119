"""An audit of images from end to end: records, certificates, pictures, and the page."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests import vit
from unmask.attack import Reconstruction
from unmask.attacks.images.newton import ImageNewton
from unmask.auditor.image_plan import image_cells, image_plan
from unmask.auditor.images import png
from unmask.auditor.loop import run
from unmask.auditor.plan import STRONGEST, Plan, Role
from unmask.record import Outcome
from unmask.report import page
from unmask.surfaces.image_activation import ImageActivationSurface
from unmask.vision import Images


def planned(select: tuple[str, ...], **settings) -> Plan:
    """Return a plan on three images of which two are attacked."""
    model = vit.plain()
    pixels = torch.cat([vit.secret(model, index).pixels for index in range(3)])
    cells = image_cells(model, ImageActivationSurface(), select)
    role = Role(attack=ImageNewton(starts=1, explored=5, settled=10), role=STRONGEST, cells=tuple(range(len(cells))))
    return image_plan(model, Images(pixels=pixels, labels=torch.tensor([0, 1, 2])), [role], cells, limit=2, **settings)


def test_images_are_recovered_certified_and_shown(tmp_path: Path) -> None:
    done = run(planned(("0.value",), show_private=True), tmp_path)
    assert len(done.records) == 2
    for record in done.records:
        assert record.outcome is Outcome.CERTIFIED
        assert record.scores["recovered"] == 1
        assert record.measures["psnr_db"] > 60
        assert record.null["ssim"] < 0.9 > record.trivial["ssim"]
        for picture in record.pictures:
            secret, found = (np.asarray(Image.open(tmp_path / path)) for path in (picture.secret, picture.recovered))
            assert np.array_equal(secret, found)
    html = page.write(tmp_path).read_text(encoding="utf-8")
    assert html.count("<img") == 4
    assert "gives the image away in full" in html


def test_without_leave_no_picture_is_stored(tmp_path: Path) -> None:
    done = run(planned(("0.value",)), tmp_path)
    assert not list(tmp_path.rglob("*.png"))
    assert all(picture.secret == picture.recovered == "" for record in done.records for picture in record.pictures)
    assert "The pictures are masked" in page.write(tmp_path).read_text(encoding="utf-8")


def test_the_grid_has_a_cell_for_every_head_and_signal() -> None:
    cells = [cell.cell for cell in planned(("grid",)).cells]
    assert [c.component for c in cells if c.layer == 1] == [
        "heads.0", "heads.1", "block", "hidden", "key", "value", "probabilities",
    ]  # fmt: skip
    sizes = {c.component: c.parameters for c in cells}
    assert (sizes["heads.0"], sizes["block"], sizes["probabilities"]) == (5 * 16, 5 * 32, 2 * 5 * 5)


def test_a_decoy_has_the_form_of_a_guess() -> None:
    subject = vit.subject(vit.plain())
    guess = Reconstruction(tokens=(), images=torch.rand(2, 1, 8, 8), loss=0.0)
    decoy = subject.decoy(guess, torch.Generator().manual_seed(0))
    assert decoy.pixels.shape == guess.images.shape
    assert not subject.alike(decoy, vit.secret(vit.plain()))
    assert subject.alike(decoy, Images(pixels=torch.cat([vit.secret(vit.plain()).pixels, decoy.pixels])))


def test_sets_of_images_are_matched() -> None:
    subject = vit.subject(vit.plain())
    pixels = torch.cat([vit.secret(vit.plain(), index).pixels for index in range(2)])
    found = Reconstruction(tokens=(), images=pixels.flip(0), loss=0.0)
    verdict = subject.judge(Images(pixels=pixels), found, others=(), show=True)
    assert verdict.scores["recovered"] == 1
    assert all(secret == other for secret, other in verdict.pictures)


def test_small_pictures_are_enlarged_by_whole_factors() -> None:
    picture = Image.open(io.BytesIO(png(np.random.default_rng(0).random((3, 8, 8)))))
    assert picture.size == (96, 96)
    assert picture.mode == "RGB"
