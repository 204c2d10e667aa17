"""Time and size of the two certificates of degree, for PolyNet at several widths.

python benchmarks/degree_certificate.py              # about a minute on one core
python benchmarks/degree_certificate.py --exact 1 2 --modular 16
"""

import argparse
import time
from collections.abc import Sequence

import torch

from papernets.models.pi_net import PolyNet
from papernets.polynomial import exact_degree, line_polynomials


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--exact", type=int, nargs="*", default=[1, 2, 4, 16])
    parser.add_argument("--modular", type=int, nargs="*", default=[1, 2, 4, 16, 32])
    parser.add_argument("--in-channels", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=32)
    options = parser.parse_args(arguments)
    shape = (options.in_channels, options.image_size, options.image_size)

    print(f"PolyNet, five blocks, input {shape}, {torch.get_num_threads()} thread(s)")
    print("method     width  parameters  degree   seconds  bits")
    for method in ("exact", "modular"):
        for width in getattr(options, method):
            torch.manual_seed(0)
            model = PolyNet(shape[0], width=width, image_size=shape[1])
            x0, direction = torch.rand(shape), torch.randn(shape)
            start = time.perf_counter()
            if method == "exact":
                logits = line_polynomials(model, x0, direction)
                degree = max(p.degree() for p in logits)
                numerator = max(p.numer().height_bits() for p in logits)
                denominator = max(int(p.denom()).bit_length() for p in logits)
                note = f"{numerator} / {denominator} (numerators / denominators)"
            else:
                certificate = exact_degree(model, x0, direction)
                degree = certificate.degree
                note = f"{certificate.primes[0].bit_length()} (each prime)"
            seconds = time.perf_counter() - start
            parameters = sum(p.numel() for p in model.parameters())
            print(
                f"{method:<10}{width:>6}{parameters:>12,}{degree:>7} {seconds:>9.2f}"
                f"  {note}"
            )


if __name__ == "__main__":
    main()
