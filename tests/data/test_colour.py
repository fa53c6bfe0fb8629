"""Colours by blocks and rows are what a slow, literal reading of the formulas gives, image by image."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pretrain.data import augment, colour
from pretrain.data.view import Input, View

Doubles = npt.NDArray[np.float64]
GIVEN = Input(size=8, resize=8)
JITTER, ORDER, GRAY, BLUR, WIDTH, LIGHTING, SOLAR = 3, 7, 11, 12, 13, 26, 32  # columns of draws
STRONG = (0.8, 0.8, 0.8, 0.2)
TOLERANCE = 2e-5  # of normalised pixels; a level of 8 bits is 0.017


def gray(x: Doubles) -> Doubles:
    return x @ np.array([0.299, 0.587, 0.114])


def jittered(x: Doubles, kind: int, draw: float, strength: float) -> Doubles:
    if kind == 3:
        return np.array([[hue(*pixel, (draw * 2 - 1) * strength) for pixel in row] for row in x])
    factor = 1 + (draw * 2 - 1) * strength
    base = (0.0, gray(x).mean(), gray(x)[..., None])[kind]
    return np.clip(base + (x - base) * factor, 0, 1)


def hue(r: float, g: float, b: float, shift: float) -> tuple[float, float, float]:
    h, s, v = colorsys.rgb_to_hsv(r, g, b)
    return colorsys.hsv_to_rgb((h + shift) % 1, s, v)


def blurred(x: Doubles, std: float, largest: float) -> Doubles:
    radius = min(math.ceil(3 * largest), len(x) - 1)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / std) ** 2)
    for axis in (0, 1):
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        wide = np.pad(x, pad, mode="edge")
        x = np.apply_along_axis(lambda line: np.convolve(line, kernel / kernel.sum(), "valid"), axis, wide)
    return x


def literal(pixels: npt.NDArray[np.uint8], view: View, u: Doubles) -> Doubles:
    """One image (S, S, 3) in doubles, every operation as the papers word it."""
    x = pixels / 255
    if u[0] < view.flip:
        x = x[:, ::-1]
    if u[2] < view.jitter_p:
        for kind in np.argsort(u[ORDER : ORDER + 4]):
            if view.jitter[kind]:
                x = jittered(x, int(kind), u[JITTER + kind], view.jitter[kind])
    if u[GRAY] < view.gray:
        x = np.repeat(gray(x)[..., None], 3, 2)
    if u[BLUR] < view.blur:
        low, high = view.blur_sigma
        x = blurred(x, low + u[WIDTH] * (high - low), high)
    if u[SOLAR] < view.solarize:
        x = np.where(x < 0.5, x, 1 - x)
    if view.lighting:
        a, b = u[LIGHTING : LIGHTING + 3], u[LIGHTING + 3 : LIGHTING + 6]
        normal = np.sqrt(-2 * np.log1p(-a)) * np.cos(2 * np.pi * b) * view.lighting
        x = x + np.array(colour.LIGHTING_VECTORS) @ (normal * np.array(colour.LIGHTING_VALUES))
    return (x - np.array(GIVEN.mean)) / np.array(GIVEN.std)


def drawn(n: int) -> torch.Tensor:
    return augment.single(augment.uniforms(0, 0, augment.in_order(np.arange(n)), 1, colour.COLOUR_DRAWS))


def noise(n: int, side: int) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    pixels[:, :2, :2] = [[[0, 0, 0], [255, 255, 255]], [[90, 90, 7], [7, 90, 90]]]  # gray, and two highest
    return torch.from_numpy(pixels)


VIEWS = {
    "plain": View(size=9),
    "jitter": View(size=9, jitter=STRONG, jitter_p=0.8),
    "gray and blur": View(size=9, gray=0.3, blur=0.6),
    "solarised": View(size=9, gray=0.3, blur=0.6, solarize=0.4),
    "all": View(size=9, jitter=STRONG, jitter_p=0.6, gray=0.2, blur=0.5, lighting=0.1),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_the_literal_ones(name: str) -> None:
    pixels, u = noise(40, 9), drawn(40)
    found = colour.finish(pixels, VIEWS[name], u, GIVEN).permute(0, 2, 3, 1)
    expected = [literal(p, VIEWS[name], r) for p, r in zip(pixels.numpy(), u.double().numpy(), strict=True)]
    torch.testing.assert_close(found.double(), torch.from_numpy(np.stack(expected)), atol=TOLERANCE, rtol=0)


def test_a_plain_view_is_exactly_the_scaled_and_normalised_bytes() -> None:
    """To the last bit: fusing the passes rounds nothing otherwise."""
    pixels = noise(5, 9)
    found = colour.finish(pixels, View(size=9, flip=0.0), drawn(5), GIVEN)
    assert torch.equal(found, augment.normalise(pixels.permute(0, 3, 1, 2).float() / 255, GIVEN))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_byte_is_inverted_from_128_on_and_other_images_stay_to_the_bit() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(2, -1, -1, 3).contiguous()
    u = torch.zeros(2, colour.COLOUR_DRAWS)
    u[1, SOLAR] = 0.5
    given = Input(size=16, resize=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    made = colour.finish(pixels, View(size=16, flip=0.0, solarize=0.5), u, given)
    assert (255 * made[0, 0].flatten()).round().int().tolist() == [min(v, 255 - v) for v in range(256)]
    plain = colour.finish(pixels, View(size=16, flip=0.0), u, given)
    assert torch.equal(made[1], plain[1])


def test_a_view_is_the_same_alone_in_another_batch_and_with_other_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image of 184 px has pixels enough for torch to share a sum among threads."""
    view = View(size=184, jitter=STRONG, gray=0.2, blur=0.5, lighting=0.1)
    pixels, u = noise(8, 184), drawn(8)
    whole = colour.finish(pixels, view, u, GIVEN)
    before = torch.get_num_threads()
    torch.set_num_threads(3 - min(before, 2))
    try:
        alone = [colour.finish(pixels[i : i + 1], view, u[i : i + 1], GIVEN) for i in range(8)]
        monkeypatch.setattr(colour, "BLOCK_BYTES", 1 << 30)
        together = colour.finish(pixels, view, u, GIVEN)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.cat(alone), whole)
    assert torch.equal(together, whole)


def test_pixels_stay_as_they_were() -> None:
    pixels = noise(6, 9)
    before = pixels.clone()
    colour.finish(pixels, changed_all(), drawn(6), GIVEN)
    assert torch.equal(pixels, before)


def changed_all() -> View:
    return View(
        size=9,
        jitter=STRONG,
        jitter_p=0.5,
        gray=0.3,
        blur=0.5,
        rotate=5.0,
        mix=0.1,
        lighting=0.1,
        solarize=0.5,
    )


def test_the_host_never_waits_for_the_device() -> None:
    """A device without memory: whatever asks it for a value, or for a size that depends on one, raises."""
    pixels = noise(16, 9).to("meta")
    found = colour.finish(pixels, changed_all(), drawn(16), GIVEN)
    assert found.shape == (16, 3, 9, 9)
    assert found.device.type == "meta"


def test_only_chosen_images_are_worked_on() -> None:
    u = drawn(400)
    assert list(colour.planned(View(size=9), u)) == []
    blur, *more = colour.planned(View(size=9, blur=0.25), u)
    assert more == []
    assert blur.rows.tolist() == np.flatnonzero(u[:, BLUR] < 0.25).tolist()
    assert len(blur.numbers) == len(blur.rows)
    hues = colour.planned(View(size=9, jitter=(0.0, 0.0, 0.0, 0.1), jitter_p=0.5), u)
    rows = np.concatenate([change.rows for change in hues])
    assert sorted(rows.tolist()) == np.flatnonzero(u[:, 2] < 0.5).tolist(), "each chosen image once"
