"""Recipes: everything that decides a pretraining run, as frozen dataclasses. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from pretrain.base.faults import Fault
from pretrain.base.identity import digest
from pretrain.base.settings import (
    Adaptive,
    Count,
    Positive,
    Probability,
    Rate,
    added,
    changed,
    plain,
    settings,
)
from pretrain.data.view import Input, View


@settings
class Step:
    """Learning rate times `gamma` at each milestone (epochs)."""

    kind: Literal["step"] = "step"
    milestones: tuple[Positive, ...] = ()
    gamma: Rate = 0.1


@settings
class Cosine:
    """Linear warm-up from `start` to 1 over `warmup` epochs,
    then cosine to `final`: factors of the peak rate.
    """

    kind: Literal["cosine"] = "cosine"
    warmup: Count = 0
    start: Probability = 0.0
    final: Probability = 0.0


@settings
class HeldCosine:
    """Rate 0 for `hold` epochs, which only fill memories; then `warmup` epochs of a line from 0 to 1, then
    cosine to 0: factors of the peak rate.
    """

    kind: Literal["held-cosine"] = "held-cosine"
    hold: Count = 0
    warmup: Count = 0


@settings
class EpochCosine:
    """Cosine that moves once per epoch: (1 + cos(pi e / (E + first))) / 2 in epochs e = first, first + 1, ...
    of E. The factor is never 0, and 1 only where e begins with 0.
    """

    kind: Literal["epoch-cosine"] = "epoch-cosine"
    first: Annotated[int, Field(ge=0, le=1)] = added(1)


Schedule = Annotated[Step | Cosine | HeldCosine | EpochCosine, Field(discriminator="kind")]
# Of Sinkhorn's codes: exp(-1 / epsilon), divided by a sum of exp(1 / epsilon) over a batch, must stay above
# 0; in fp64 it does down to here.
SMALLEST_EPSILON = 0.003
KmeansBackend = Literal["torch", "faiss"]  # ours: any number of processes; faiss: one, where it is installed


def before_cosine(schedule: Schedule) -> int:
    """Epochs before a cosine begins to fall."""
    if isinstance(schedule, HeldCosine):
        return schedule.hold + schedule.warmup
    return schedule.warmup if isinstance(schedule, Cosine) else 0


@settings
class Scheduled(Adaptive):
    """Settings with epochs and a schedule over them: the
    schedule must fit, and follows where only epochs change.
    """

    epochs: Count
    schedule: Schedule = Step()

    def __post_init__(self) -> None:
        late = (
            [m for m in self.schedule.milestones if m > self.epochs]
            if isinstance(self.schedule, Step)
            else []
        )
        if late and self.epochs:
            said = f"the rate would never drop at {late}, beyond the {self.epochs} epochs"
            raise ValueError(f"schedule.milestones: {said}; set both")
        if (first := before_cosine(self.schedule)) > self.epochs:
            said = f"{first} epochs are more than the {self.epochs} there are"
            raise ValueError(f"schedule.warmup: {said}; set both")

    def follow(self, body: dict[str, Any], touched: frozenset[str]) -> list[str]:
        """Of new epochs alone: milestones in proportion to those before."""
        old, new = self.epochs, body["epochs"]
        if "epochs" not in touched or "schedule" in touched or not old or not isinstance(new, int) or new < 1:
            return []
        if not isinstance(self.schedule, Step) or not self.schedule.milestones:
            return []
        # One before the end stays before it; published ones may be at the end.
        milestones = [max(1, min(round(m * new / old), new - (m < old))) for m in self.schedule.milestones]
        body["schedule"]["milestones"] = milestones
        return [
            f"schedule.milestones follow epochs ({old} -> {new}): {list(self.schedule.milestones)} -> {milestones}"
        ]


@settings
class Recipe(Scheduled):
    """A pretraining run. A method's own constants are fields of its subclass.

    name: unique over the zoo; config: what the Config column of a page says, by default the name;
    version: raised by hand when the arithmetic of the method changes;
    batch_size: images per step over all processes; lr: at that batch size, no hidden scaling;
    tail: what becomes of the images of an epoch that do not fill a batch: they are left out, or the first
    ids of its order fill it up;
    precision: of the network's forward and backward: bf16 autocast, tf32 (a GPU's rounded operands), or exact
    fp32; memories, centroids and losses are fp32 in all of them. A device without bf16 computes in fp32.
    """

    name: str
    config: str = ""
    version: Positive = 1
    arch: str
    input: Input
    views: Annotated[tuple[View, ...], Field(min_length=1)]
    batch_size: Positive
    tail: Literal["drop", "pad"] = "drop"
    lr: Rate
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Rate
    optimizer: Literal["sgd", "larc", "lars", "lars-clipped"] = "sgd"
    precision: Literal["bf16", "tf32", "fp32"] = "bf16"
    bn_group: Count = 0  # images that share batch-norm statistics, on any number of processes; 0: the batch
    log_every: Positive = 50  # iterations
    micro_batch: Count = 0  # images of a process per pass of the network, 0: all that it has; see train/micro
    recompute: bool = (
        False  # the inner maps of a ResNet's stages in the backward pass: less memory, more time
    )
    check_every: Count = (
        0  # iterations between checks of the method's invariants, 0: only when replicas are compared
    )
    adapts: tuple[
        Literal["batch_size", "lr", "epochs", "clusters", "prototypes"], ...
    ] = ()  # see train/adapt

    def __post_init__(self) -> None:
        super().__post_init__()
        if lacking := [name for name in self.adapts if not hasattr(self, name)]:
            raise ValueError(f"adapts: this method has no '{lacking[0]}'")
        if self.epochs and self.batch_size * self.crops == 1:
            raise ValueError(
                "batch_size: one view of one image has no variance for batch norm; take 2 or more"
            )

    def follow(self, body: dict[str, Any], touched: frozenset[str]) -> list[str]:
        """What somebody sets adapts no more. Raises Fault where that leaves nothing to train."""
        if self.epochs and not body["epochs"]:
            raise self.misfit("0 epochs train nothing; the untrained network is the model `random`")
        body["adapts"] = [name for name in body["adapts"] if name not in touched]
        return super().follow(body, touched)

    def unreached(self) -> list[str]:
        """A sentence for each part of the method that begins after the last epoch."""
        return []

    @property
    def crops(self) -> int:
        """Views of an image in a step."""
        return sum(view.count for view in self.views)

    def fits(self, images: int, classes: int) -> None:
        """Raises Fault where the recipe cannot run on this many
        images of this many classes (0: without labels).
        """
        if self.epochs and images < self.batch_size:
            raise self.misfit(
                f"a batch of {self.batch_size} is more than the {images} images; lower 'batch_size'"
            )

    def per_epoch(self, images: int) -> int:
        """Steps of an epoch over this many images."""
        whole, rest = divmod(images, self.batch_size)
        return max(1, whole + (self.tail == "pad" and rest > 0))

    def kept(self, images: int) -> int:
        """Bytes that the method remembers of this many images beside its network."""
        return 0

    def beside(self, images: int) -> tuple[float, float]:
        """Images that pass once more without training, and FLOPs of clustering, over the whole training."""
        return 0.0, 0.0

    def taught(self) -> int:
        """How many of an image's first crops pass a second network, which is not trained."""
        return 0

    def techniques(self) -> list[str]:
        """What the recipe trains with, in words of a model card; a method's own come first."""
        if not self.epochs:
            return []
        used = {
            "SGD with momentum": self.momentum > 0,
            "Weight decay": self.weight_decay > 0,
            "LARC": self.optimizer == "larc",
            "LARS": self.optimizer in ("lars", "lars-clipped"),
            "Cosine learning rate": not isinstance(self.schedule, Step),
            "Learning-rate warm-up": before_cosine(self.schedule) > 0,
            "Multi-crop": len({view.size for view in self.views}) > 1,
            "Mixed precision (bf16)": self.precision == "bf16",
        }
        return [name for name, is_used in used.items() if is_used]

    def misfit(self, said: str) -> Fault:
        """The fault that the recipe and its data do not fit together."""
        return Fault("bad-config", f"{self.name}: {said}")


R = TypeVar("R", bound=Recipe)


def in_bf16(published: R) -> R:
    """The same recipe in mixed precision, under a name of its own: NAME_bf16."""
    config = f"{published.config}_bf16" if published.config else ""
    return changed(published, name=f"{published.name}_bf16", config=config, precision="bf16")


# Reporting intervals and the like: they decide what is printed or how much memory it takes, never a number.
CIRCUMSTANCES = ("name", "config", "log_every", "micro_batch", "recompute", "check_every", "adapts")


def decisive(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe that decide a number, as JSON values."""
    return {name: value for name, value in plain(recipe).items() if name not in CIRCUMSTANCES}


def key(recipe: Recipe, **more: Any) -> str:
    """Identity of a run: the digest of what decides its weights."""
    return digest({"recipe": decisive(recipe), **more})
