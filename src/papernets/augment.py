"""Batched augmentation of uint8 images, on the device that holds them.

Every image of a batch is cropped and flipped on its own. All random numbers come from
the generator that is passed in, so a seed fixes them on each kind of device.
"""

import torch
from torch import Tensor
from torch.nn import functional


def pad(images: Tensor, padding: int, mode: str = "constant") -> Tensor:
    """Pad uint8 (N, C, H, W) by `padding` pixels on each side.

    Args:
        images: the shorter side limits the padding.
        padding: at most that side; a pixel less in a reflection, which leaves the edge
            out.
        mode: "constant" (zeros) or "reflect".

    Raises:
        ValueError: another mode, or a padding that the images do not allow.
    """
    if mode not in ("constant", "reflect"):
        raise ValueError(f"crop mode {mode!r} is neither constant nor reflect")
    height, width = images.shape[-2:]
    largest = min(height, width) - (mode == "reflect")
    if not 0 <= padding <= largest:
        raise ValueError(
            f"crop padding is {padding}; images of {height}x{width} pixels take 0 to "
            f"{largest} in crop mode {mode!r}"
        )
    if padding == 0:
        return images
    # Reflection is not implemented for uint8; half holds 0..255 exactly.
    if mode == "reflect":
        padded = functional.pad(images.half(), [padding] * 4, mode="reflect")
        return padded.to(torch.uint8)
    return functional.pad(images, [padding] * 4)


def random_crop(
    padded: Tensor, indices: Tensor, size: int, generator: torch.Generator
) -> Tensor:
    """One random `size` x `size` window from each image `indices` of `padded`.

    Takes uint8 (N, C, H, W), where H and W are at least `size`, and int64 (B,); returns
    uint8 (B, C, size, size). The windows are views, so nothing but the result is
    copied.
    """
    offsets = padded.shape[-1] - size + 1
    if offsets == 1:
        return padded[indices]
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)
    draw = torch.randint(
        offsets, (2, len(indices)), generator=generator, device=padded.device
    )
    return windows[indices, :, draw[0], draw[1]]


def random_enlarge(images: Tensor, largest: int, generator: torch.Generator) -> Tensor:
    """Enlarge each image bilinearly to a random size, cut a random window out of it.

    Takes and returns uint8 (B, C, size, size); the sizes between `size` and `largest`
    pixels, both included, are equally likely.
    """
    size, device = images.shape[-1], images.device
    sizes = torch.randint(
        size, largest + 1, (len(images),), generator=generator, device=device
    )
    result = images.clone()
    for side in range(size + 1, largest + 1):
        chosen = (sizes == side).nonzero()[:, 0]
        large = functional.interpolate(
            images[chosen].float(), (side, side), mode="bilinear"
        )
        everyone = torch.arange(len(chosen), device=device)
        cut = random_crop(large.round().to(torch.uint8), everyone, size, generator)
        result[chosen] = cut
    return result


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image (B, C, H, W) left to right with probability one half."""
    coin = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(coin[:, None, None, None], images.flip(3), images)
