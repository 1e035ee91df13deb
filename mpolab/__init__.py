"""mpolab: learn, explore and reproduce matrix product operators (MPO) in language models.

    >>> from mpolab import MPO
    >>> print(MPO.decompose(weight).show())  # doctest: +SKIP
"""

from .mpo import MPO
from .plans import Plan, make_plan

__version__ = "0.1.0"
__all__ = ["MPO", "Plan", "make_plan"]
