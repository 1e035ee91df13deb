"""Reading, writing and printing an MPO: safetensors in, safetensors out, and a drawing in text."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .decomposition import move_centre
from .errors import CheckpointError
from .plans import Plan
from .source import Source
from .spectra import Tails
from .whole import write_whole

if TYPE_CHECKING:
    from .mpo import MPO

FORMAT = "mpolab.mpo/1"


def save_mpo(mpo: MPO, path: str | os.PathLike) -> None:
    """Cores in the Schmidt bases, all spectra, and as metadata the plan, the gauge and (of a sweep) its budget."""
    from safetensors.torch import save

    tensors = {f"core.{k}": core.contiguous() for k, core in enumerate(mpo._cores)}
    tensors |= {f"spectrum.{k + 1}": s.contiguous() for k, s in enumerate(mpo.spectra)}
    about = {
        "rows": mpo.rows,
        "cols": mpo.cols,
        "shape": mpo.shape,
        "method": mpo.method,
        "gauge": mpo.gauge,
        "moved_to": mpo._moved_to,
        "swept": mpo._swept,
        "clipped": mpo.clipped,
    }
    write_whole(path, save(tensors, metadata={"format": FORMAT, "mpo": json.dumps(about)}))


def load_mpo(cls: type[MPO], path: str | os.PathLike) -> MPO:
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no MPO file at {path}; `mpo.save({str(path)!r})` writes one.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as problem:
        raise CheckpointError(
            f"{path} is no whole safetensors file ({problem}); write it again with mpo.save()."
        ) from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} holds {', '.join(sorted(tensors)[:4]) or 'nothing'} ... but no MPO of this package "
            f"(format {metadata.get('format')!r}, expected {FORMAT!r}); decompose its matrices with "
            "MPO.decompose and save those."
        )
    try:
        about = json.loads(metadata["mpo"])
        plan = Plan(tuple(about["rows"]), tuple(about["cols"]), tuple(about["shape"]))
        swept, clipped = about["swept"], tuple(tuple(entry) for entry in about["clipped"])
        method, gauge, moved_to = about["method"], about["gauge"], about["moved_to"]
    except (ValueError, KeyError, TypeError) as problem:
        raise CheckpointError(f"{path}: its metadata cannot be read ({problem!r}); save the MPO again.") from None
    _check_shapes(path, plan, tensors)
    cores = tuple(tensors[f"core.{k}"] for k in range(plan.n))
    spectra = [tensors[f"spectrum.{k}"] for k in range(1, plan.n)]
    tails = Tails(spectra)
    source = None
    if swept is None and all(core.shape[0] == full for core, full in zip(cores, plan.full_bonds)):
        # With all bonds full the cores are the source.
        source = Source.of(plan, tails, cores if method == "centre" else move_centre(cores, plan.centre))
    swept = None if swept is None else tuple(swept)
    return cls(plan, spectra, method, gauge, clipped, cores, source, swept, moved_to, tails)


def _check_shapes(path: Path, plan: Plan, tensors: dict[str, torch.Tensor]) -> None:
    """Raises CheckpointError unless every core and spectrum is there, with sizes that fit each other and the plan."""
    wanted = [f"core.{k}" for k in range(plan.n)] + [f"spectrum.{k}" for k in range(1, plan.n)]
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; the file was changed after mpo.save() wrote it.")
    shapes = [tuple(tensors[f"core.{k}"].shape) for k in range(plan.n)]
    bonds = [shape[0] for shape in shapes] + [1]
    joined = [(bonds[k], size, bonds[k + 1]) for k, size in enumerate(plan.sizes)]
    lengths = [len(tensors[f"spectrum.{k}"]) for k in range(1, plan.n)]
    if shapes != joined or bonds[0] != 1 or lengths != list(plan.full_bonds[1:-1]):
        raise CheckpointError(
            f"{path}: cores {shapes} and spectra of {lengths} values do not fit the plan {plan}; the file was changed "
            "after mpo.save() wrote it."
        )


def show_mpo(mpo: MPO) -> str:
    """The chain as text:

    3072x768, 5 cores, ratio 1.063 (2,508,176 of 2,359,296 numbers)
    ...
    """
    cells = [f"({i}·{j})" for i, j in zip(mpo.rows, mpo.cols)]
    bonds, full, entropies = mpo.bonds, mpo.full_bonds, mpo.entropy()
    chain, above, below = "", "", ""
    for k, cell in enumerate(cells):
        mark = f"[{cell[1:-1]}]" if k == mpo.plan.centre else cell
        above += " " * len(mark)
        below += " " * len(mark)
        chain += mark
        if k < mpo.n - 1:
            label = f" {bonds[k + 1]}" + (f"/{full[k + 1]}" if bonds[k + 1] < full[k + 1] else "") + " "
            value = f" {entropies[k]:.2f} "
            width = max(len(label), len(value), 5)
            above += label.center(width)
            chain += "─" * width
            below += value.center(width)
    whole = mpo.plan.padded[0] * mpo.plan.padded[1]
    padding = f", padded to {mpo.plan.padded[0]}x{mpo.plan.padded[1]}" if mpo.plan.is_padded else ""
    lines = [
        f"{mpo.shape[0]}x{mpo.shape[1]}{padding}: {mpo.n} cores, ratio {mpo.ratio:.4f} "
        f"({mpo.parameters:,} of {whole:,} numbers), {str(mpo.dtype).removeprefix('torch.')}",
        f"  bond      {above}".rstrip(),
        f"  core i·j  {chain}",
        f"  entropy   {below}".rstrip(),
        f"  method {mpo.method}, {mpo.gauge_name}, bound {mpo.bound():.4f}"
        + (", cut by a sequential sweep" if mpo._swept is not None else ""),
    ]
    for bond, asked, given in mpo.clipped:
        lines.append(f"  bond {bond}: {asked} asked for, {given} is all there is")
    return "\n".join(lines)
