"""Whether the Hugging Face hub can be asked: one short request, as its libraries retry theirs for most of a minute."""

from __future__ import annotations

import os
import threading

HUB_SECONDS = 4.0
"""How long one look-up may take before the hub counts as unreachable; HF_HUB_ETAG_TIMEOUT overrides it."""

_TRUE = {"1", "ON", "YES", "TRUE"}


def switched_off() -> bool:
    """Whether HF_HUB_OFFLINE is set. The libraries read it when they are imported; one that is set later counts too."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE


def patience(seconds: float = HUB_SECONDS) -> float:
    """The seconds that one look-up may take: what the user's HF_HUB_ETAG_TIMEOUT says, else `seconds`."""
    from huggingface_hub import constants

    return constants.HF_HUB_ETAG_TIMEOUT if os.environ.get("HF_HUB_ETAG_TIMEOUT") else seconds


def problem(url: str, seconds: float) -> Exception | None:
    """What comes of asking for the head of a file on the hub: None where it is there, TimeoutError after `seconds`."""
    from huggingface_hub import get_hf_file_metadata

    outcome: list[Exception | None] = []

    def probe() -> None:
        try:
            get_hf_file_metadata(url, timeout=seconds)
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    # In a thread, because a request's timeout does not cover the look-up of the host's name.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds + 1.0)
    return outcome[0] if outcome else TimeoutError()
