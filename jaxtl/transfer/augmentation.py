"""How a phase changes its training images: fields of a phase, and the functions that they stand for."""

import dataclasses

from jaxtl.data import augment, policies
from jaxtl.data.augment import BORDERS, Border, Transform
from jaxtl.data.boxes import random_erasing, random_resized_crop
from jaxtl.data.colour import colour_jitter
from jaxtl.data.mix import Mix, random_mix
from jaxtl.transfer.fields import documented, field, one_of, within


@documented
@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is drawn for every training image in every step, in the order of the fields; 0 and False are none."""

    flip: bool = field(False, "mirror a random half of the images")
    crop: int = field(0, "pixels of padding before a random crop back to size", within(0, 4096))
    crop_border: Border = field("black", "what a crop sees outside of the image", one_of(*BORDERS))
    vertical_flip: bool = field(False, "mirror a random half top to bottom: for pictures without an up")
    quarter_turns: bool = field(False, "turn each image by 0, 90, 180 or 270 degrees: for pictures without an up")
    resized_crop: float = field(
        0.0,
        "crop at least this share of the area and resize it: 0.08 for ImageNet, 0.3 to 0.6 for few images",
        within(0, 1),
    )
    resized_crop_ratio: float = field(4 / 3, "largest ratio of the sides of a resized crop", within(1, 100))
    brightness: float = field(
        0.0, "largest change of the brightness factor: 0.2 to 0.4 for changing light", within(0, 10)
    )
    contrast: float = field(0.0, "largest change of the contrast factor", within(0, 10))
    saturation: float = field(0.0, "largest change of the saturation factor", within(0, 10))
    hue: float = field(0.0, "largest turn of the hue as a share of the circle; 0.1 is much", within(0, 0.5))
    auto_augment: str = field(
        "none",
        "random operations on shape and colour: 'randaugment' for long trainings, 'trivialaugment' without tuning",
        one_of("none", "randaugment", "trivialaugment"),
    )
    randaugment_operations: int = field(2, "'randaugment': operations on each image", within(1, 14))
    randaugment_magnitude: int = field(9, "'randaugment': their strength", within(0, policies.HIGHEST))
    erasing: float = field(0.0, "share of images with a rectangle erased: 0.1 to 0.25 against occlusion", within(0, 1))
    mixup: float = field(
        0.0, "blend pairs of images and labels by Beta(N, N): 0.1 to 0.4 in long trainings that overfit", within(0, 100)
    )
    cutmix: float = field(
        0.0,
        "paste a part of one image into another and mix labels by area: 1 where mixup would be used",
        within(0, 100),
    )

    @property
    def mixes(self) -> bool:
        """Whether an image is shown together with another, so that labels are soft."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def augments(self) -> bool:
        """Whether an image looks different from epoch to epoch."""
        return self.mixes or self.erasing > 0 or bool(self._chosen())

    def alone(self) -> "Augmentation":
        """These fields without the rest of the phase that they belong to."""
        return Augmentation(**{each.name: getattr(self, each.name) for each in dataclasses.fields(Augmentation)})

    def transform(self, preprocess: Transform) -> Transform:
        """Augmentation and preprocessing of uint8 images ``[B, H, W, C]``, all but what ``mix`` gives.

        Pixels are erased after normalisation, so that they have the mean of the data, as in torchvision's recipes.
        """
        erasing = [random_erasing(self.erasing)] * (self.erasing > 0)
        return augment.compose(augment.compose(*self._chosen()), preprocess, *erasing)

    def mix(self) -> Mix | None:
        """What mixes the images of a batch after ``transform``, if anything does."""
        return random_mix(self.mixup, self.cutmix) if self.mixes else None

    def _chosen(self) -> list[Transform]:
        colours = {name: getattr(self, name) for name in ("brightness", "contrast", "saturation", "hue")}
        rand_augment = policies.rand_augment(self.randaugment_operations, self.randaugment_magnitude)
        known = [
            (self.flip, augment.horizontal_flip()),
            (self.crop, augment.pad_and_crop(self.crop, self.crop_border)),
            (self.vertical_flip, augment.vertical_flip()),
            (self.quarter_turns, augment.quarter_turns()),
            (self.resized_crop, random_resized_crop(self.resized_crop, self.resized_crop_ratio)),
            (any(colours.values()), colour_jitter(**colours)),
            (self.auto_augment == "randaugment", rand_augment),
            (self.auto_augment == "trivialaugment", policies.trivial_augment()),
        ]
        return [transform for is_wanted, transform in known if is_wanted]
