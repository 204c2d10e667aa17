"""The Π-Net chapter: a network without activation functions, on MNIST and CIFAR-10."""

from papernets.recipes import POLYNET_LITERAL
from papernets.records import Run


def article(dataset: str, seed: int) -> Run:
    """The article's network and recipe, as it prints them."""
    return Run(
        experiment="pi_net",
        model="polynet",
        model_args={},
        dataset=dataset,
        recipe=POLYNET_LITERAL,
        seed=seed,
        test_every_epoch=True,
    )


def studies(preset: str = "paper") -> dict[str, list[Run]]:
    seeds = range(5)
    return {
        "article": [article(d, s) for s in seeds for d in ("mnist", "cifar10")],
    }
