"""Networks that torchvision has too: same counts, and same weights, same outputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from papernets.blocks import he_initialise
from papernets.complexity import count, profile
from papernets.data import import_torchvision
from papernets.models.branches import Concat
from papernets.models.densenet import DenseLayer, bn_relu, transition
from papernets.models.googlenet import GoogLeNet
from papernets.models.inception_v3 import InceptionV3
from papernets.models.squeezenet import Fire, SqueezeNet


def inception_v3() -> nn.Module:
    return InceptionV3(num_classes=1000, plan="299")


def googlenet() -> nn.Module:
    """With 3x3 where the paper has 5x5, as torchvision's is."""
    model = GoogLeNet(num_classes=1000, plan="224", batch_norm=True)
    for module in model.stages:
        if isinstance(module, Concat):
            five = module[2][1][0]
            module[2][1][0] = nn.Conv2d(
                five.in_channels, five.out_channels, 3, padding=1, bias=False
            )
    return model


def squeezenet1_0() -> nn.Module:
    """Without normalisation and bypasses, the stem halves twice, ReLU on the logits."""
    model = SqueezeNet(num_classes=1000)
    stem, *fires = model.features
    assert isinstance(stem, nn.Conv2d)
    stem.stride, stem.padding = (2, 2), (0, 0)
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    model.features = nn.Sequential(stem, pool, *fires)
    model.classifier.append(nn.ReLU())
    for module in list(model.modules()):
        if isinstance(module, Fire):
            module.bypass = False
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return model


def densenet121() -> nn.Module:
    """Our layers and transitions, in four blocks after a stem that halves twice."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        *bn_relu(64),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = 64
    for block, number in enumerate((6, 12, 24, 16)):
        if block > 0:
            layers += transition(channels, channels // 2, dropout=0.0)
            channels //= 2
        for _ in range(number):
            layers.append(DenseLayer(channels, 32, bottleneck=True, dropout=0.0))
            channels += 32
    layers += [*bn_relu(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels, 1000))


def copy_weights(source: nn.Module, target: nn.Module, eps: float) -> nn.Module:
    """Give `target` the tensors of `source`, which stand in the same order."""
    tensors = source.state_dict().values()
    names = target.state_dict().keys()
    target.load_state_dict(dict(zip(names, tensors, strict=True)), assign=True)
    for module in target.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps
    return target.eval()


NO_AUXILIARY = {"aux_logits": False, "init_weights": False}


@pytest.mark.parametrize(
    ("build", "arguments", "eps", "size"),
    [
        (inception_v3, NO_AUXILIARY, 0.001, 75),
        (googlenet, NO_AUXILIARY, 0.001, 75),
        (squeezenet1_0, {}, 1e-5, 75),
        (densenet121, {}, 1e-5, 64),
    ],
)
def test_torchvision_has_the_same_network(
    build: Callable[[], nn.Module], arguments: dict[str, Any], eps: float, size: int
) -> None:
    torch.manual_seed(0)
    library = import_torchvision().models
    theirs = getattr(library, build.__name__)(weights=None, **arguments).eval()
    if build is googlenet:
        theirs.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)  # theirs is 2x2
    with torch.device("meta"):
        ours = build()
    assert count(ours) == count(theirs)
    assert count(ours, "weights") == count(theirs, "weights")
    shape = (3, 224, 224) if build is not inception_v3 else (3, 299, 299)
    one, other = profile(ours, shape), profile(theirs, shape)
    assert (one.macs, one.activations) == (other.macs, other.activations)
    he_initialise(theirs)  # as they come, their logits hardly depend on the image
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = theirs(x)
        got = copy_weights(theirs, ours, eps)(x)
    assert (expected[0] - expected[1]).std() > 0.01 * expected.std()
    torch.testing.assert_close(
        got, expected, rtol=1e-3, atol=1e-4 * float(expected.std())
    )
