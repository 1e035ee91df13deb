"""Settings: what cannot be meant is refused when they are made, whatever type it has."""

from __future__ import annotations

import numpy as np
import pytest

from mpolab.errors import TrainingError, UnknownNameError
from mpolab.settings import Settings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": "1"}, "lr='1': a positive number was expected"),
        ({"lr": True}, "lr=True"),
        ({"epochs": None}, "epochs=None: a positive number"),
        ({"epochs": float("inf")}, "epochs=inf"),
        ({"betas": 3}, "betas=3: two numbers"),
        ({"betas": (0.9, 1.0)}, "betas="),
        ({"betas": (0.9, "x")}, "betas="),
        ({"betas": "ab"}, "betas='ab'"),
        ({"weight_decay": None}, "weight_decay=None: a number of at least 0"),
        ({"warmup": "0.1"}, "warmup='0.1'"),
        ({"stride": 1.5}, "stride=1.5: a whole number of at least 0"),
        ({"batch_size": "8"}, "batch_size='8': a whole number of at least 1"),
        ({"batch_size": None}, "batch_size=None"),
        ({"batch_size": 8.5}, "batch_size=8.5"),
        ({"max_steps": "many"}, "max_steps='many'"),
    ],
)
def test_values_that_cannot_be_meant(changes, words):
    with pytest.raises(TrainingError, match=words):
        Settings(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"device": 0}, "unknown device 0"),
        ({"schedule": ["linear"]}, "unknown schedule"),
        ({"precision": None}, "unknown precision None"),
    ],
)
def test_words_that_are_not_known(changes, words):
    with pytest.raises(UnknownNameError, match=words):
        Settings(**changes)


def test_values_that_can():
    none = dict.fromkeys(("max_steps", "tensor_lr", "patience", "eval_every", "save_every", "device"))
    settings = Settings(betas=[0, 0.9], stride=0, tensor_lr=0, lr=np.float64(1e-3), batch_size=np.int64(4), warmup=10)
    assert settings.betas == (0, 0.9) and Settings(**none) == Settings()
