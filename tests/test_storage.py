"""An MPO in a file: it comes back whole, in another process too; what is no MPO is refused; nothing is half written."""

from __future__ import annotations

import json
import os
import pickle
import stat
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mpolab import MPO

METHODS = ("centre", "left_to_right", "symmetric")
HOW = {"rows": (2, 2, 3, 2, 2), "cols": (2, 3, 2, 2, 2)}


@pytest.fixture
def W(gaussian):
    return gaussian(43, 47)


def same(first: MPO, second: MPO) -> None:
    assert first.plan == second.plan and first.shape == second.shape
    assert first.bonds == second.bonds and first.full_bonds == second.full_bonds
    assert (first.method, first.gauge, first.gauge_name) == (second.method, second.gauge, second.gauge_name)
    assert first.clipped == second.clipped and first.dtype == second.dtype and first.norm == second.norm
    assert all(torch.equal(a, b) and a.shape == b.shape for a, b in zip(first.cores, second.cores))
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(first.spectra, second.spectra))
    assert first.bound() == second.bound() and first.entropy() == second.entropy()
    assert first.show() == second.show() and repr(first) == repr(second)
    assert torch.equal(first.to_matrix(), second.to_matrix())


VARIANTS = {
    "full": lambda mpo: mpo,
    "cut": lambda mpo: mpo.truncate(bond=[2, 99, 5, 3]),
    "ratio": lambda mpo: mpo.truncate(ratio=0.3),
    "moved": lambda mpo: mpo.canonical(0),
    "moved and cut": lambda mpo: mpo.canonical(4).truncate(bond=3),
    "swept": lambda mpo: mpo.truncate(bond=4, sweep=True),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_all_of_it_comes_back(variant, method, dtype, W, tmp_path):
    mpo = VARIANTS[variant](MPO.decompose(W.to(dtype), **HOW, method=method))
    mpo.save(tmp_path / "a.safetensors")
    back = MPO.load(tmp_path / "a.safetensors")
    same(mpo, back)
    same(mpo, MPO.load(str(tmp_path / "a.safetensors")))
    x = torch.ones(47, dtype=mpo.dtype)
    rounding = (
        1e-12 if mpo.dtype == torch.float64 else 1e-5
    )  # a loaded core has other strides, and sums round differently
    assert torch.allclose(
        mpo.matvec(x), back.matvec(x), rtol=rounding, atol=rounding * float(back.matvec(x).abs().max())
    )
    assert back.error(W.to(dtype)) == mpo.error(W.to(dtype))
    if variant != "swept":  # a loaded MPO is cut like any other
        for a, b in zip(mpo.truncate(bond=2).cores, back.truncate(bond=2).cores):
            assert torch.equal(a, b)
    else:
        assert back.budget() == mpo.budget() and back.error() == mpo.error()


@pytest.mark.parametrize("method", METHODS)
def test_a_whole_one_knows_its_errors_again(method, W, tmp_path):
    mpo = MPO.decompose(W, **HOW, method=method)
    mpo.save(tmp_path / "a")
    back = MPO.load(tmp_path / "a")
    for request in ({"bond": 3}, {"ratio": 0.3}, {"error": 0.5}):
        ours, right = back.truncate(**request), mpo.truncate(**request)
        assert ours.error() == pytest.approx(right.error(), abs=1e-12)
        assert ours.budget() == pytest.approx(right.budget(), abs=1e-12)
        assert ours.truncate(bond=2, sweep=True).error() == pytest.approx(right.truncate(bond=2, sweep=True).error())


@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_sweep_is_not_cut_into_something_wrong(method, gaussian, tmp_path):
    """Its cores are in other bases than the source's; cut as slices they may be worse than the bound says."""
    W = gaussian(36, 36)
    W = W * torch.exp(-0.2 * torch.arange(36, dtype=torch.float64))
    mpo = MPO.decompose(W, rows=(2, 3, 2, 3), cols=(3, 2, 3, 2), method=method)
    mpo.truncate(bond=[4, 9, 4], sweep=True).save(tmp_path / "a")
    back = MPO.load(tmp_path / "a")
    try:
        cut = back.truncate(bond=2)
    except ValueError as refusal:
        assert "source" in str(refusal) or "matrix" in str(refusal)
        return
    right = mpo.truncate(bond=2)
    assert cut.error(W) == pytest.approx(right.error(), rel=1e-9), "cutting twice is cutting once"


def test_a_fresh_process_reads_it(W, tmp_path):
    mpo = MPO.decompose(W, **HOW).truncate(bond=[2, 99, 5, 3])
    mpo.save(tmp_path / "a.safetensors")
    code = (
        "import sys, hashlib; from mpolab import MPO; m = MPO.load(sys.argv[1]); print(m.show()); "
        "print(hashlib.sha256(m.to_matrix().numpy().tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.safetensors")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    import hashlib

    digest = hashlib.sha256(mpo.to_matrix().numpy().tobytes()).hexdigest()
    assert done.stdout == f"{mpo.show()}\n{digest}\n"


def test_what_is_in_the_file(W, tmp_path):
    mpo = MPO.decompose(W, **HOW).truncate(bond=3)
    mpo.save(tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")  # a plain safetensors file, nothing pickled
    assert sum(t.numel() for name, t in tensors.items() if "core" in name) == mpo.parameters
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["mpo"])
    assert tuple(about["rows"]) == mpo.rows and tuple(about["shape"]) == mpo.shape


def test_it_makes_folders_and_replaces_files(W, tmp_path):
    path = tmp_path / "deep" / "er" / "a.safetensors"
    MPO.decompose(W, **HOW).save(path)
    MPO.decompose(W, **HOW, bond=2).save(path)
    assert max(MPO.load(path).bonds) == 2
    assert os.listdir(path.parent) == ["a.safetensors"]


def test_others_may_read_it_as_far_as_the_umask_says(W, tmp_path):
    (tmp_path / "plain").write_text("")
    MPO.decompose(W, **HOW).save(tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("where", ["replace", "fsync"])
def test_an_interrupted_write_leaves_the_old_file_alone(where, W, tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    MPO.decompose(W, **HOW).save(path)
    before = path.read_bytes()

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        MPO.decompose(W, **HOW, bond=2).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.safetensors"]


# -- files that are no MPO ------------------------------------------------------------------------


def refused(path, *words) -> None:
    with pytest.raises(ValueError) as caught:
        MPO.load(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_a_missing_file(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no MPO file at {path}"):
            MPO.load(path)


@pytest.mark.parametrize("keep", [0, 4, 7, 8, 100, 0.5, 0.99, -1])
def test_a_truncated_file(keep, W, tmp_path):
    path = tmp_path / "a.safetensors"
    MPO.decompose(W, **HOW).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    refused(path, "no whole safetensors file", "mpo.save()")


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps({"core.0": [1, 2, 3]}))
    refused(path, "safetensors")
    path.write_text("core.0 core.1 core.2")
    refused(path, "safetensors")


def test_a_foreign_safetensors_file(tmp_path):
    path = tmp_path / "model.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"encoder.weight": torch.zeros(2, 2)}, path, metadata=metadata)
        refused(path, "no MPO of this package", "encoder.weight", "MPO.decompose")
    save_file({}, path)
    refused(path, "no MPO of this package")


@pytest.mark.parametrize("name", ["core.0", "core.2", "core.4", "spectrum.1", "spectrum.4"])
def test_a_missing_tensor(name, W, tmp_path):
    path = tmp_path / "a.safetensors"
    MPO.decompose(W, **HOW).save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    del tensors[name]
    save_file(tensors, path, metadata=metadata)
    refused(path, f"lacks {name}")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.update({"core.1": tensors["core.1"][:, :3].contiguous()}),
        lambda tensors: tensors.update({"core.1": tensors["core.1"][:, :, :3].contiguous()}),
        lambda tensors: tensors.update({"core.1": tensors["core.1"].flatten()}),
        lambda tensors: tensors.update({"spectrum.2": tensors["spectrum.2"][:2].contiguous()}),
    ],
    ids=["leg", "bond", "flat", "spectrum"],
)
def test_tensors_that_do_not_fit_their_plan(change, W, tmp_path):
    path = tmp_path / "a.safetensors"
    MPO.decompose(W, **HOW).save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)
    refused(path)


@pytest.mark.parametrize("about", [None, "not json", "{}"])
def test_metadata_that_somebody_changed(about, W, tmp_path):
    path = tmp_path / "a.safetensors"
    MPO.decompose(W, **HOW).save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    metadata = {key: value for key, value in metadata.items() if key != "mpo"} | (
        {} if about is None else {"mpo": about}
    )
    save_file(load_file(path), path, metadata=metadata)
    refused(path)


def test_a_loaded_cut_mpo_says_what_it_does_not_know(W, tmp_path):
    path = tmp_path / "a.safetensors"
    MPO.decompose(W, **HOW, bond=3).save(path)
    back = MPO.load(path)
    for call in (back.error, back.budget, lambda: back.truncate(bond=2, sweep=True)):
        with pytest.raises(ValueError, match=r"not at hand.*loaded.*mpo\.error\(W\)"):
            call()
    assert back.error(W) == pytest.approx(MPO.decompose(W, **HOW, bond=3).error(), rel=1e-10)
