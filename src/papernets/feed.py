"""Data on the device, served as augmented and scaled batches."""

from collections.abc import Iterator

import torch
from torch import Tensor

from papernets import augment, parallel
from papernets.data import Dataset, Split
from papernets.recipes import Recipe

EVALUATION_BATCH = 1_000


class Feed:
    """A split on the device, served as augmented and scaled batches."""

    def __init__(
        self, split: Split, data: Dataset, recipe: Recipe, device: torch.device
    ) -> None:
        self.split = split.to(device)
        self.recipe = recipe
        self.size = data.image_size
        self.padded = augment.pad(
            self.split.images, recipe.crop_padding, recipe.crop_mode
        )
        unit = recipe.scaling == "unit"
        shape = (1, data.in_channels, 1, 1)
        mean = torch.zeros(shape) if unit else torch.tensor(data.mean).view(shape)
        std = torch.ones(shape) if unit else torch.tensor(data.std).view(shape)
        self.shift = (255 * mean).to(device)
        self.scale = (1 / (255 * std)).to(device)

    @property
    def steps(self) -> int:
        """Batches in an epoch; the last, incomplete one is dropped.

        Raises ValueError if there are fewer images than a batch has.
        """
        batch, images = self.recipe.batch_size, len(self.split)
        if batch > images:
            raise ValueError(
                f"batch_size is {batch}; it must be at most {images}, the number of "
                "images to train on"
            )
        return images // batch

    def epoch(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled, augmented batches: float (B, C, H, W) and int64 (B,).

        Of several processes that train together each gets its part of every batch.
        """
        device = self.padded.device
        generator = torch.Generator(device).manual_seed(seed)
        if self.recipe.sampling == "shuffle":
            order = torch.randperm(len(self.split), generator=generator, device=device)
        else:
            order = self.drawn(generator)
        for step in range(self.steps):
            batch = order[step * self.recipe.batch_size :][: self.recipe.batch_size]
            images = augment.random_crop(self.padded, batch, self.size, generator)
            if self.recipe.resize_to > self.size:
                images = augment.random_enlarge(
                    images, self.recipe.resize_to, generator
                )
            if self.recipe.flip:
                images = augment.random_flip(images, generator)
            yield (
                self.scaled(parallel.part(images)),
                parallel.part(self.split.labels[batch]),
            )

    def drawn(self, generator: torch.Generator) -> Tensor:
        """Indices of an epoch drawn with replacement, all classes equally likely."""
        device, number = self.padded.device, len(self.split)
        by_class = self.split.labels.argsort(stable=True)
        sizes = torch.bincount(self.split.labels)
        first = sizes.cumsum(0) - sizes
        classes = torch.randint(
            len(sizes), (number,), generator=generator, device=device
        )
        within = torch.rand(number, generator=generator, device=device)
        return by_class[first[classes] + (within * sizes[classes]).long()]

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All images as they are, in their order."""
        for images, labels in zip(
            self.split.images.split(EVALUATION_BATCH),
            self.split.labels.split(EVALUATION_BATCH),
            strict=True,
        ):
            yield self.scaled(images), labels

    def scaled(self, images: Tensor) -> Tensor:
        layout = (
            torch.channels_last
            if self.recipe.channels_last
            else torch.contiguous_format
        )
        pixels = images.float()
        if self.recipe.scaling == "per_image":
            variance, mean = torch.var_mean(
                pixels, (1, 2, 3), correction=0, keepdim=True
            )
            pixels = (pixels - mean) * (variance + 10).rsqrt()
        else:
            pixels = (pixels - self.shift) * self.scale
        return pixels.contiguous(memory_format=layout)
