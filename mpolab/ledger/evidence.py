"""What decides each claim, in one table."""

from __future__ import annotations

from .arithmetic import Arithmetic
from .compared import Compared
from .evidence_mpobert import EVIDENCE as _MPOBERT
from .evidence_mpoe import EVIDENCE as _MPOE
from .evidence_mpop import EVIDENCE as _MPOP
from .studies import Studied

Evidence = Arithmetic | Compared | Studied

EVIDENCE: dict[str, Evidence] = {**_MPOP, **_MPOBERT, **_MPOE}
"""Id of a claim -> what decides it. A new claim is an entry in `papers.CLAIMS` and one here."""
