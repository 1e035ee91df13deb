"""Whole models with experts in two processes (DDP): the gradients are those of one process that sees both halves."""

from __future__ import annotations

import pytest
import torch
from small import one_of_two
from test_moe import IDS, gpt2, t5

from mpolab import to_moe

ROWS = IDS[:2]
WAYS = {
    "GPT-2, mpoe": lambda: to_moe(gpt2(), "mpoe", 4),
    "GPT-2, mpoe, frozen centres": lambda: to_moe(gpt2(), "mpoe", 4, mask_probability=1.0),
    "GPT-2, switch": lambda: to_moe(gpt2(), "switch", 3, jitter=0.0),
    "GPT-2, moefication": lambda: to_moe(gpt2(), "moefication", 4, top_k=2),
    "T5, mpoe": lambda: to_moe(t5(), "mpoe", 4),
}


def loss_of(model, row: int) -> torch.Tensor:
    """With the routers' losses, which each process works out for its own tokens."""
    return model(input_ids=ROWS[row : row + 1], labels=ROWS[row : row + 1], use_cache=False).loss


def _replica(rank: int, folder: str) -> None:
    from torch.nn.parallel import DistributedDataParallel

    with one_of_two(rank, folder):
        for way, build in WAYS.items():
            replica = DistributedDataParallel(build().train())
            for _ in range(2):  # a parameter without a gradient would stop the second pass
                replica.zero_grad()
                loss_of(replica, rank).backward()
            found = {name: p.grad for name, p in replica.module.named_parameters()}
            torch.save(found, f"{folder}/{way}-{rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("replicas")
    torch.multiprocessing.spawn(_replica, (str(path),), nprocs=2)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_do_what_one_does(folder, way):
    model = WAYS[way]().train()
    for row in (0, 1):
        (loss_of(model, row) / 2).backward()
    first, second = (torch.load(folder / f"{way}-{rank}.pt", weights_only=True) for rank in (0, 1))
    moved = 0
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            assert first[name] is None and not parameter.requires_grad, name
            continue
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
        moved += bool(parameter.grad.any())
    assert moved > len(first) / 2
