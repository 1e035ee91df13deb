"""What the papers claim, one entry a claim: in tables, on figures and in prose. One file a paper."""

from __future__ import annotations

from .claim import Claim
from .claims_mpobert import CLAIMS as _MPOBERT
from .claims_mpoe import CLAIMS as _MPOE
from .claims_mpop import CLAIMS as _MPOP

CLAIMS: dict[str, Claim] = {claim.id: claim for claim in (*_MPOP, *_MPOBERT, *_MPOE)}
"""Every claim by its id, in the order of the papers."""
