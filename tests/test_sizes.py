"""What is done to a picture's size is undone, and a mask stays where it was."""

import numpy as np
import pytest

from editbench.editors.sizes import fit_source, working_size


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("fit", ["reflect", "edge"])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 70), (1, 31), (17, 640)])
def test_padding_is_undone_exactly(fit, height, width):
    source = picture(height, width)
    mask = np.ones((height, width), bool)
    fitted = fit_source(source, mask, 16, fit)
    assert all(side % 16 == 0 for side in fitted.source.shape[:2])
    assert fitted.source.shape[0] - height < 16 and fitted.source.shape[1] - width < 16
    assert np.array_equal(fitted.source[:height, :width], source)
    assert np.array_equal(fitted.undo(fitted.source), source)
    assert fitted.mask.sum() == height * width and fitted.mask[:height, :width].all()  # no edit is asked for beyond it
    assert fitted.flags == ()


def test_padding_continues_the_picture():
    source = picture(20, 24)
    reflected, repeated = fit_source(source, None, 16, "reflect").source, fit_source(source, None, 16, "edge").source
    assert np.array_equal(reflected[20:, :24], source[18:6:-1])
    assert np.array_equal(repeated[20:, :24], np.repeat(source[-1:], 12, axis=0))
    assert fit_source(source, None, 16, "edge").mask is None


def test_a_picture_that_is_too_small_is_padded_to_what_is_taken():
    source = picture(20, 80)
    fitted = fit_source(source, np.ones((20, 80), bool), 32, "reflect", smallest=64)
    assert fitted.source.shape == (64, 96, 3) and fitted.mask.sum() == 20 * 80
    assert np.array_equal(fitted.undo(fitted.source), source)
    assert fit_source(picture(1, 1), None, 16, "reflect", smallest=64).source.shape == (64, 64, 3)


def test_a_legal_size_is_left_alone():
    source = picture(64, 96)
    for fit in ("reflect", "edge", "resize"):
        fitted = fit_source(source, None, 32, fit)
        assert np.array_equal(fitted.source, source) and fitted.flags == ()


def test_resampling_is_to_the_nearest_legal_size_and_is_said():
    fitted = fit_source(picture(50, 70), np.ones((50, 70), bool), 16, "resize")
    assert fitted.source.shape == (48, 64, 3) and fitted.mask.shape == (48, 64)
    assert fitted.flags == ("edited-at=64x48",)
    assert fitted.undo(fitted.source).shape == (50, 70, 3)


def test_a_size_that_is_asked_for():
    fitted = fit_source(picture(100, 200), None, 16, "reflect", max_side=64)
    assert fitted.inner == (32, 64) and fitted.source.shape == (32, 64, 3)
    assert fit_source(picture(40, 60), None, 8, "reflect", max_side=64).flags == ()  # it is no larger
    fitted = fit_source(picture(32, 64), None, 16, "reflect", area=64 * 128)
    assert fitted.inner == (64, 128) and fitted.flags == ("edited-at=128x64",)
    assert fitted.undo(fitted.source).shape == (32, 64, 3)
    assert working_size(300, 300, 1, area=512 * 512, max_side=256) == (256, 256)
    assert working_size(5, 5, 16) == (16, 16)
    for height, width in ((427, 640), (451, 300), (33, 1000)):
        one, other = working_size(height, width, 1, area=512 * 512)
        assert one * other == pytest.approx(512 * 512, rel=0.01)
        assert one / other == pytest.approx(height / width, rel=0.01)


def test_a_mask_keeps_its_place_and_share_when_it_is_resampled():
    mask = np.zeros((120, 160), bool)
    mask[31:61, 41:119] = True
    small = fit_source(picture(120, 160), mask, 8, "reflect", max_side=40).mask
    rows, columns = np.nonzero(small[:30, :40])
    found = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    assert found == (8, 15, 10, 30)  # a quarter of a pixel is none of it, three quarters are all
    large = fit_source(picture(30, 40), small[:30, :40], 8, "reflect", area=120 * 160).mask
    assert large.mean() == pytest.approx(small[:30, :40].mean(), rel=0.05)


def test_resampling_there_and_back_is_close():
    smooth = np.linspace(0, 255, 80 * 60 * 3).reshape(60, 80, 3).astype(np.uint8)
    fitted = fit_source(smooth, None, 16, "resize", area=240 * 320)
    assert np.abs(fitted.undo(fitted.source).astype(int) - smooth).max() <= 4
