"""How pixels reach a network: the input of a backbone, and the
views that training and evaluation take of an image.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pretrain.base.settings import (
    AbovePositive,
    Positive,
    Probability,
    Rate,
    Share,
    added,
    changed,
    settings,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)  # of CIFAR-10
CIFAR_STD = (0.2470, 0.2435, 0.2616)
Side = Annotated[int, Field(ge=1, le=10_000)]  # px


@settings
class Input:
    """How pixels reach the backbone; travels with the weights, so every protocol prepares images alike.

    size: side in px that the model was trained at; resize: short side in px before a centre crop;
    mean, std: RGB, for pixels in [0, 1];
    sobel: the fixed two-channel edge front-end of DeepCluster after normalisation.
    """

    size: Side
    resize: Side
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[AbovePositive, AbovePositive, AbovePositive] = IMAGENET_STD
    sobel: bool = False


@settings
class View:
    """One augmented view of an image. Sizes in px; probabilities and strengths as in the papers.

    geometry: `random-resized` crops an area of `scale` (share of the image) with aspect ratio 3/4 to 4/3;
    `center` resizes the short side to `resize` and crops the centre; `warp` resizes the short side to
    `resize` (0: not at all), then distorts to a square; `random-crop` takes a random square of `size` out of
    the centre square of `resize`.
    """

    size: Side
    count: Positive = 1
    geometry: Literal["random-resized", "center", "warp", "random-crop"] = "random-resized"
    scale: tuple[Share, Share] = (0.08, 1.0)
    resize: Annotated[int, Field(ge=0, le=10_000)] = 256
    flip: Probability = 0.5
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0  # degrees, uniform in +-rotate
    jitter: tuple[Rate, Rate, Rate, Annotated[float, Field(ge=0, le=0.5)]] = (0.0, 0.0, 0.0, 0.0)
    """Brightness, contrast, saturation: factors in 1 +- strength; hue: turns in +- strength."""
    jitter_p: Probability = 1.0
    gray: Probability = 0.0
    mix: Rate = 0.0  # strength of a random 3x3 colour mixing, 0: none
    blur: Probability = 0.0  # of a Gaussian blur
    blur_sigma: tuple[AbovePositive, AbovePositive] = (0.1, 2.0)  # px
    lighting: Rate = 0.0  # std of AlexNet's PCA colour noise
    solarize: Probability = added(0.0)  # values from half the range on are inverted, after the blur

    def __post_init__(self) -> None:
        for name in ("scale", "blur_sigma"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must rise, got {low} to {high}")
        if self.geometry in ("center", "random-crop") and self.resize < self.size:
            raise ValueError(f"a crop of {self.size} px does not fit into images resized to {self.resize} px")


def centre_view(given: Input) -> View:
    """Short side to `resize`, centre crop of `size`, nothing random: the evaluation view of a backbone."""
    return View(size=given.size, geometry="center", resize=given.resize, flip=0.0)


def sized(view: View, given: Input) -> View:
    """The view at the size that a backbone was trained at: a
    protocol's own sizes are those of 224-px models.
    """
    return changed(view, size=given.size, resize=given.resize)
