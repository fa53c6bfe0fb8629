"""Views are pure functions of (seed, epoch, sample, view), and each operation is the one that the papers
used.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as reference

from pretrain.data import augment, colour
from pretrain.data.view import Input, View

# Columns of the uniform numbers that colour an image.
JITTER, HUE, WIDTH, LIGHTING = 3, 6, 13, 26
PLAIN = Input(size=8, resize=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
rng = np.random.default_rng(0)


def once(ids: npt.NDArray[np.int64]) -> augment.Samples:
    """Samples whose ids are all different."""
    return augment.in_order(ids)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_random_numbers_depend_on_the_sample_not_on_its_batch() -> None:
    ids = np.array([5, 900, 7])
    together = augment.uniforms(1, 2, once(ids), 0, 6)
    alone = np.concatenate([augment.uniforms(1, 2, once(ids[i : i + 1]), 0, 6) for i in range(3)])
    assert np.array_equal(together, alone)
    for seed, epoch, stream in ((2, 2, 0), (1, 3, 0), (1, 2, 1)):
        assert not np.isclose(together, augment.uniforms(seed, epoch, once(ids), stream, 6)).any()


def test_random_numbers_are_uniform_and_uncorrelated() -> None:
    u = augment.uniforms(0, 0, once(np.arange(20_000)), 0, 8)
    assert abs(u.mean() - 0.5) < 0.002
    assert abs(u.var() - 1 / 12) < 0.002
    correlation = np.corrcoef(u.T) - np.eye(8)
    assert np.abs(correlation).max() < 0.03
    assert np.abs(np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]) < 0.03


def test_an_image_that_is_drawn_again_is_seen_in_another_view() -> None:
    order = np.array([3, 5, 3, 5, 5, 0])
    samples = augment.in_order(order)
    assert samples.occurrence.tolist() == [0, 0, 1, 1, 2, 0]
    u = augment.uniforms(1, 2, samples, 0, 50)
    assert len({tuple(row) for row in u.tolist()}) == len(order)
    assert len(np.unique(u)) == u.size, "no draw of one occurrence is a draw of another"
    assert np.array_equal(u[:2], augment.uniforms(1, 2, once(np.array([3, 5])), 0, 50))


def test_no_draw_becomes_one_in_single_precision() -> None:
    """The largest draw is 1 - 2^-53; fp32 would round it to 1, and lighting noise would be infinite."""
    top = np.array([[1 - 2.0**-53, 1 - 2.0**-26, 1 - 2.0**-24, 0.5, 0.0]])
    u = augment.single(top)
    assert float(u.max()) < 1
    assert bool((-torch.log1p(-u)).isfinite().all())
    assert u[0, 2:].tolist() == [1 - 2.0**-24, 0.5, 0.0]


def test_the_draw_that_was_one_lights_an_image_finitely() -> None:
    """Of seed 0, epoch 40, id 401408, stream 1: one of its draws is above 1 - 2^-25."""
    u = augment.single(augment.uniforms(0, 40, once(np.array([401_408])), 1, colour.COLOUR_DRAWS))
    view = View(size=8, lighting=0.1)
    x = torch.full((1, 8, 8, 3), 128, dtype=torch.uint8)
    assert bool(colour.finish(x, view, u, Input(size=8, resize=8)).isfinite().all())


def test_random_resized_boxes_keep_area_and_aspect() -> None:
    u = augment.uniforms(0, 0, once(np.arange(2000)), 0, augment.GEOMETRY_DRAWS)
    boxes = np.array([augment.random_resized_box(500, 375, (0.08, 1.0), row) for row in u])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= 500).all()
    assert (boxes[:, 3] <= 375).all()
    assert ((width / height > 0.72) & (width / height < 1.38)).all()
    assert (width * height / (500 * 375) > 0.075).all()


def test_a_box_that_never_fits_falls_back_to_the_centre() -> None:
    box = augment.random_resized_box(100, 10, (1.0, 1.0), np.full(24, 0.5))
    assert box == (43, 0, 56, 10)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (48, 64), (33, 33)])
def test_centre_and_warp_are_torchvisions(width: int, height: int) -> None:
    image, no_draws = picture(width, height), np.zeros(24)
    small = reference.resize(image, [20], antialias=True)
    centre = augment.crop(image, View(size=16, geometry="center", resize=20), no_draws)
    assert np.array_equal(centre, np.asarray(reference.center_crop(small, [16, 16])))
    warp = augment.crop(image, View(size=16, geometry="warp", resize=20), no_draws)
    assert np.array_equal(warp, np.asarray(reference.resize(small, [16, 16], antialias=True)))


def test_random_crop_reaches_every_place_of_the_centre_square() -> None:
    image = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6)[..., None].repeat(3, 2))
    view = View(size=4, geometry="random-crop", resize=6)
    corners = {
        int(augment.crop(image, view, row)[0, 0, 0])
        for row in augment.uniforms(0, 0, once(np.arange(200)), 0, 24)
    }
    assert corners == {6 * y + x for y in range(3) for x in range(3)}


def finish(view: View, n: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    pixels = torch.from_numpy(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8))
    u = torch.from_numpy(augment.uniforms(0, 0, once(np.arange(n)), 1, colour.COLOUR_DRAWS)).float()
    return pixels.permute(0, 3, 1, 2) / 255, colour.finish(pixels, view, u, PLAIN), u


def test_without_augmentation_pixels_are_only_normalised() -> None:
    x, y, _ = finish(View(size=8, flip=0.0))
    torch.testing.assert_close(x, y)


def test_flip_mirrors_its_share_of_the_images() -> None:
    x, y, u = finish(View(size=8, flip=0.5), 400)
    flipped = u[:, 0] < 0.5
    torch.testing.assert_close(y[flipped], x[flipped].flip(3))
    torch.testing.assert_close(y[~flipped], x[~flipped])
    assert 150 < int(flipped.sum()) < 250


def coloured(pixels: torch.Tensor, view: View, drawn: dict[int, list[float]]) -> torch.Tensor:
    """Finished views of uint8 pixels (B, S, S, 3), where some draws of each image are given and others 0."""
    u = torch.zeros(len(pixels), colour.COLOUR_DRAWS)
    for column, values in drawn.items():
        u[:, column] = torch.tensor(values)
    return colour.finish(pixels, view, u, PLAIN)


def noise(n: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images as a loader hands them over, uint8 (n, S, S, 3), and as tensors in [0, 1]."""
    pixels = torch.from_numpy(rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8))
    pixels[0, 0, 0] = 128  # a gray pixel has no hue
    return pixels, pixels.permute(0, 3, 1, 2) / 255


@pytest.mark.parametrize("shift", [-0.5, -0.2, 0.0, 0.3])
def test_hue_is_torchvisions(shift: float) -> None:
    pixels, x = noise(4, 5)
    view = View(size=5, flip=0.0, jitter=(0.0, 0.0, 0.0, 0.5))
    ours = coloured(pixels, view, {HUE: [shift + 0.5] * 4})
    torch.testing.assert_close(ours, reference.adjust_hue(x, shift), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_brightness_contrast_saturation_are_torchvisions(kind: int) -> None:
    pixels, x = noise(1, 6)
    theirs = (reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation)[kind]
    strength = tuple(float(i == kind) for i in range(3))
    for factor in (0.2, 1.0, 1.7):
        view = View(size=6, flip=0.0, jitter=(*strength, 0.0))
        ours = coloured(pixels, view, {JITTER + kind: [factor / 2]})
        # The luma weights have three digits here and four there.
        torch.testing.assert_close(ours, theirs(x, factor), atol=2e-3, rtol=0)


def test_blur_is_a_gaussian_of_the_drawn_width() -> None:
    pixels, x = noise(2, 24)
    view = View(size=24, flip=0.0, blur=1.0, blur_sigma=(0.1, 2.0))
    ours = coloured(pixels, view, {WIDTH: [0.0, 1.0]})
    torch.testing.assert_close(ours[:1], x[:1], atol=1e-4, rtol=0)
    wide = reference.gaussian_blur(x[1:, :, :, :], [13, 13], [2.0, 2.0])
    torch.testing.assert_close(ours[1:, :, 7:-7, 7:-7], wide[:, :, 7:-7, 7:-7], atol=1e-4, rtol=0)


def test_lighting_by_hand() -> None:
    """A black image, normal draws forced to (1, 0, 0): the first eigenvector times 0.1 times its
    eigenvalue.
    """
    draws = dict(enumerate([1 - math.exp(-0.5), 0, 0, 0, 0.25, 0.25], start=LIGHTING))
    black = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    found = coloured(black, View(size=8, flip=0.0, lighting=0.1), {i: [v] for i, v in draws.items()})
    expected = torch.tensor([-0.5675, -0.5808, -0.5836]) * 0.1 * 0.2175
    torch.testing.assert_close(found, expected.view(1, 3, 1, 1).expand_as(found), atol=1e-6, rtol=1e-4)


def test_jitter_order_differs_between_images_and_probability_is_kept() -> None:
    x, y, u = finish(View(size=8, flip=0.0, jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.5), 200)
    changed = (x - y).abs().amax((1, 2, 3)) > 1e-3
    assert torch.equal(changed, u[:, 2] < 0.5)
    assert len({tuple(row) for row in u[:, 7:11].argsort(1).tolist()}) == 24


def test_rotation_is_small_and_keeps_the_centre() -> None:
    x, y, _ = finish(View(size=8, flip=0.0, rotate=2.0))
    torch.testing.assert_close(x[:, :, 3:5, 3:5], y[:, :, 3:5, 3:5])
