"""PaperNets: neural-network papers, rerun.

The package behind the book: models (:mod:`papernets.models`), data
(:mod:`papernets.data`), one training loop (:mod:`papernets.training`), run records
(:mod:`papernets.records`) and one module per chapter (:mod:`papernets.experiments`).
"""

__version__ = "0.1.0"
