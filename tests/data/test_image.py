"""Every reader sees the same picture: upright, 8-bit RGB, nothing clipped; what cannot be read is named."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pretrain.base.faults import Fault
from pretrain.data.image import read, rgb
from pretrain.data.split import Split


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    image = rgb(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def corner() -> npt.NDArray[np.uint8]:
    """16 x 32 pixels: one bright corner on black, so that every turn and mirroring shows."""
    out = np.zeros((16, 32, 3), dtype=np.uint8)
    out[:8, :8] = (250, 120, 10)
    return out


STORED = {  # EXIF orientation -> how an upright image is stored (EXIF 2.32, 4.6.4)
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x),  # stored turned left; to be shown turned right
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, -1),
}


@pytest.mark.parametrize("orientation", sorted(STORED))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_images_are_upright(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](corner())))
    options = {"lossless": True} if ending == "webp" else {"quality": 95} if ending == "jpg" else {}
    stored.save(tmp_path / f"x.{ending}", exif=exif, **options)
    got = pixels(tmp_path / f"x.{ending}")
    assert got.shape == (16, 32, 3)
    assert np.abs(got.astype(int) - corner()).max() < 60  # jpeg blurs colour


def test_the_trainers_of_detection_turn_images_alike(tmp_path: Path) -> None:
    """mmdet and mmsegmentation read through OpenCV."""
    cv2 = pytest.importorskip("cv2")
    for orientation in STORED:
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.jpg"
        Image.fromarray(np.ascontiguousarray(STORED[orientation](corner()))).save(path, exif=exif, quality=95)
        theirs = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(pixels(path).astype(int) - theirs).max() < 12


def test_damaged_exif_beside_whole_pixels_is_passed_over(tmp_path: Path) -> None:
    Image.fromarray(corner()).save(tmp_path / "x.png", exif=b"Exif\0\0nonsense")
    assert (pixels(tmp_path / "x.png") == corner()).all()


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled(tmp_path: Path, ending: str) -> None:
    levels = np.array([[0, 257, 128 * 257, 40_000, 65_535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / f"x.{ending}")
    assert pixels(tmp_path / f"x.{ending}")[0].tolist() == [[v] * 3 for v in (0, 1, 128, 156, 255)]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_sixteen_bit_colour_is_scaled(tmp_path: Path) -> None:
    """A PNG put together by hand: Pillow writes none of this kind."""
    levels = np.array([[[0, 257 * 3, 65_535], [40_000, 257 * 200, 257]]], dtype=np.uint16)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    body = zlib.compress(b"\0" + levels.astype(">u2").tobytes())
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    assert pixels(tmp_path / "x.png").tolist() == [[[0, 3, 255], [156, 200, 1]]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 65_535, 257]], dtype=np.int32), [0, 255, 1]),  # as 16 bits
        (np.array([[-100, 0, 100]], dtype=np.int32), [0, 128, 255]),  # its own range
        (np.array([[0, 1_000_000]], dtype=np.int32), [0, 255]),
        (np.array([[0.0, 0.2, 1.0]], dtype=np.float32), [0, 51, 255]),
        (np.array([[0.0, 51.0, 200.0]], dtype=np.float32), [0, 51, 200]),
        (np.array([[0.0, 257.0, 65_535.0]], dtype=np.float32), [0, 1, 255]),
        (np.array([[-1.0, 0.0, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[-3.0, -3.0]], dtype=np.float32), [0, 0]),
    ],
)
def test_numbers_of_32_bits_become_grey_by_rule(
    tmp_path: Path, values: npt.NDArray[np.generic], expected: list[int]
) -> None:
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert pixels(tmp_path / "x.tif")[0].tolist() == [[v] * 3 for v in expected]


def test_transparency_leaves_the_colours(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((4, 4), 90, dtype=np.uint8))
    veiled = grey.convert("LA")
    veiled.putalpha(7)
    veiled.save(tmp_path / "la.png")
    palette = Image.fromarray(corner()).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "p.png", transparency=bytes(range(2)))
    assert (pixels(tmp_path / "la.png") == 90).all()
    assert (pixels(tmp_path / "p.png") == np.asarray(palette.convert("RGB"))).all()


def test_cmyk_is_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "x.jpg", quality=95)
    assert np.abs(pixels(tmp_path / "x.jpg").astype(int) - (0, 255, 255)).max() < 8


def refused(path: Path) -> Fault:
    with pytest.raises(Fault) as raised:
        read(Split("own/train", path.parent, (path.name,), None, ()), 0)
    assert f"own/train: {path}" in str(raised.value)
    return raised.value


@pytest.mark.case(16)
def test_an_image_that_would_fill_the_memory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    fault = refused(tmp_path / "x.png")
    assert fault.reason == "data-corrupt"
    assert "decompression bomb" in str(fault)


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "webp", "tif"])
@pytest.mark.case(16)
def test_a_file_that_was_cut_short_is_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    assert refused(path).reason == "data-corrupt"


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, np.nan]], dtype=np.float32)).save(tmp_path / "x.tif")
    assert "no finite numbers" in str(refused(tmp_path / "x.tif"))


def test_an_absent_file_is_missing(tmp_path: Path) -> None:
    assert refused(tmp_path / "x.png").reason == "data-missing"
