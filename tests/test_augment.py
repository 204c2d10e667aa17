"""Augmentation: each image on its own, nothing but crops and flips."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from papernets import augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    seed=st.integers(0, 100),
    size=st.integers(1, 6),
    most=st.integers(1, 3),
    channels=st.integers(1, 3),
)
def test_crops_are_windows_of_their_own_image(
    seed: int, size: int, most: int, channels: int
) -> None:
    padding = min(most, size)
    images = torch.randint(1, 256, (5, channels, size, size), dtype=torch.uint8)
    padded = augment.pad(images, padding)
    picked = torch.tensor([3, 0, 0, 4])
    crops = augment.random_crop(padded, picked, size, generator(seed))
    assert crops.shape == (4, channels, size, size)
    for crop, index in zip(crops, picked, strict=True):
        windows = padded[index].unfold(1, size, 1).unfold(2, size, 1)
        offsets = range(2 * padding + 1)
        assert any(
            torch.equal(crop, windows[:, i, j]) for i in offsets for j in offsets
        )


def test_crops_and_flips_differ_between_images_and_reach_everything() -> None:
    image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4) + 1
    padded = augment.pad(image, 2)
    picked = torch.zeros(4_000, dtype=torch.int64)
    crops = augment.random_crop(padded, picked, 4, generator())
    assert len(crops.unique(dim=0)) == 25
    flips = augment.random_flip(image.expand(4_000, 1, 4, 4), generator())
    share = (flips == image).flatten(1).all(1).float().mean().item()
    assert 0.46 < share < 0.54
    assert torch.equal(flips.unique(dim=0), torch.cat([image, image.flip(3)]))


def test_same_generator_same_batch() -> None:
    images = augment.pad(torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8), 4)
    picked = torch.arange(9)
    first, second = (
        augment.random_crop(images, picked, 8, generator(7)) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_enlarging_keeps_size_and_range_and_reaches_every_scale() -> None:
    ramp = torch.arange(16).repeat(16, 1) * 10
    images = ramp.to(torch.uint8).expand(2_000, 1, 16, 16)
    cut = augment.random_enlarge(images, 20, generator())
    assert (cut.shape, cut.dtype) == (images.shape, torch.uint8)
    # A window of an image enlarged to s pixels spans 16 / s of the ramp.
    rows = cut[:, 0, 8].float()
    span = (rows[:, -1] - rows[:, 0]) / 150
    for side in range(16, 21):
        share = ((span - 16 / side).abs() < 0.02).float().mean().item()
        assert 0.16 < share < 0.24, side
    assert torch.equal(cut, augment.random_enlarge(images, 20, generator()))
    assert torch.equal(augment.random_enlarge(images, 16, generator()), images)


def test_padding_modes() -> None:
    image = torch.tensor([[1, 2, 3]], dtype=torch.uint8).expand(3, 3)[None, None]
    assert augment.pad(image, 1)[0, 0, 1].tolist() == [0, 1, 2, 3, 0]
    assert augment.pad(image, 1, "reflect")[0, 0, 1].tolist() == [2, 1, 2, 3, 2]
    full = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(augment.pad(full, 2, "reflect")[:, :, 2:-2, 2:-2], full)
    assert augment.pad(full, 0) is full


@pytest.mark.parametrize(
    ("padding", "mode", "message"),
    [
        (-1, "constant", "crop padding is -1; images of 8x9 pixels take 0 to 8"),
        (9, "constant", "crop padding is 9; images of 8x9 pixels take 0 to 8"),
        (8, "reflect", "crop padding is 8; images of 8x9 pixels take 0 to 7"),
        (2, "foo", "crop mode 'foo' is neither constant nor reflect"),
    ],
)
def test_bad_paddings_are_refused(padding: int, mode: str, message: str) -> None:
    images = torch.zeros(1, 1, 8, 9, dtype=torch.uint8)
    with pytest.raises(ValueError, match=f"^{message}"):
        augment.pad(images, padding, mode)
    for allowed, right in ((8, "constant"), (7, "reflect")):
        assert augment.pad(images, allowed, right).shape[2] == 8 + 2 * allowed
