"""Runs that are killed, disks that fill up, files that are cut short, two processes: the end is the same."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small
import torch
from small import digest, settle, tiny_data, tiny_model, tiny_tokenizer

from mpolab import snapshots
from mpolab.errors import CheckpointError, TrainingError
from mpolab.training import Settings, fine_tune

ROOT = Path(__file__).resolve().parent.parent
QUICK = Settings(epochs=3, batch_size=16, lr=5e-3, max_length=24, eval_every=4, schedule="constant")  # 12 steps


@pytest.fixture(scope="module")
def tokenizer():
    settle()
    return tiny_tokenizer()


def run(*command: str, limit: float = 300) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)


def steps(folder: Path) -> list[int]:
    return sorted(snapshots.step_of(path) for path in snapshots.all_snapshots(folder))


# ------------------------------------------------------------------------------------------------- killed and resumed


def test_kill_and_resume_to_the_same_bits(tmp_path):
    """kill -9 while a checkpoint is half written; a fresh process goes on; best and last weights, every loss and every
    score are those of the run that was left alone."""
    alone = small.resumable(str(tmp_path / "alone"))

    done = run(sys.executable, small.__file__, "killed", str(tmp_path / "killed"))
    assert done.returncode == -9, done.stderr
    assert (tmp_path / "killed" / ".saving-checkpoint-15" / "model.safetensors").is_file()
    assert snapshots.step_of(snapshots.last_whole(tmp_path / "killed")) == 10

    done = run(sys.executable, small.__file__, "resumable", str(tmp_path / "killed"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(alone)
    assert not list((tmp_path / "killed").glob(".saving*"))
    best, last, curve, *_ = json.loads(alone)
    assert best != last and len(curve) == 32  # ceil(61 / 8) steps in each of four epochs


def test_a_checkpoint_cut_short_is_passed_over(tokenizer, tmp_path, monkeypatch):
    whole = tiny_model()
    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "prune", lambda out, keep: None)  # as if killed before the older ones went
        fine_tune(whole, tokenizer, tiny_data(select=0), QUICK, out=tmp_path, progress=False)
    assert steps(tmp_path) == [4, 8, 12]
    newest = tmp_path / "checkpoint-12"
    for name in ("optimizer.pt", "rng_state.pth", "trainer_state.json", "whole.json", "model.safetensors"):
        data = (newest / name).read_bytes()
        (newest / name).write_bytes(data[: len(data) // 2])
        assert snapshots.step_of(snapshots.last_whole(tmp_path)) == 8, name
        if name != "model.safetensors":
            (newest / name).write_bytes(data)
            assert snapshots.last_whole(tmp_path) == newest
    model = tiny_model(seed=4)  # its own weights play no part
    outcome = fine_tune(model, tokenizer, tiny_data(select=0), QUICK, out=tmp_path, progress=False)
    assert outcome.state["resumed_from"] == 8 and digest(model) == digest(whole)
    assert steps(tmp_path) == [12] and snapshots.is_whole(newest)


def test_asked_again_it_does_not_train_again(tokenizer, tmp_path):
    """A run that stopped early, killed between its last checkpoint and its scores, or simply repeated."""
    settings = dataclasses.replace(QUICK, lr=1e-9, eval_every=2, patience=1)
    models = [tiny_model(), tiny_model(seed=1)]
    first, again = (fine_tune(m, tokenizer, tiny_data(), settings, out=tmp_path, progress=False) for m in models)
    assert (first.steps, again.steps, again.state["resumed_from"]) == (4, 4, 4)
    assert first.state["stopped_early"] and again.state["stopped_early"]
    assert again.scores == first.scores and again.curve == first.curve and digest(models[0]) == digest(models[1])


def test_another_run_does_not_go_on_from_here(tokenizer, tmp_path):
    fine_tune(tiny_model(), tokenizer, tiny_data(), QUICK, out=tmp_path, progress=False)
    other = dataclasses.replace(QUICK, lr=1e-3)
    with pytest.raises(TrainingError, match=r"checkpoints of another run \(settings: .*resume=False"):
        fine_tune(tiny_model(), tokenizer, tiny_data(), other, out=tmp_path, progress=False)
    with pytest.raises(TrainingError, match=r"another run \(seed: 0 there, 1 now\)"):
        fine_tune(tiny_model(), tokenizer, tiny_data(), QUICK, seed=1, out=tmp_path, progress=False)
    frozen = tiny_model()
    frozen.bert.requires_grad_(False)
    with pytest.raises(TrainingError, match=r"another run \(tensors: "):
        fine_tune(frozen, tokenizer, tiny_data(), QUICK, out=tmp_path, progress=False)
    outcome = fine_tune(tiny_model(), tokenizer, tiny_data(), other, out=tmp_path, resume=False, progress=False)
    assert outcome.state["resumed_from"] is None and outcome.steps == 12


# ------------------------------------------------------------------------------------------------------------- saving


def test_a_full_disk_leaves_the_old_checkpoint(tokenizer, tmp_path, monkeypatch):
    real = torch.save

    def save(value, file, *args, **kwargs):
        if "checkpoint-8" in str(file) and "optimizer" in str(file):
            Path(file).write_bytes(b"as much as went on")
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(value, file, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        words = r"checkpoint of step 8 could not be written \(.*No space left.*checkpoint-4'. Make room"
        with pytest.raises(TrainingError, match=words):
            fine_tune(tiny_model(), tokenizer, tiny_data(), QUICK, out=tmp_path, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-4", "run.json", "tensorboard"]
    assert snapshots.is_whole(tmp_path / "checkpoint-4")
    resumed, alone = tiny_model(), tiny_model()
    outcome = fine_tune(resumed, tokenizer, tiny_data(), QUICK, out=tmp_path, progress=False)
    fine_tune(alone, tokenizer, tiny_data(), QUICK, progress=False)
    assert outcome.state["resumed_from"] == 4 and digest(resumed) == digest(alone)


def test_a_shared_tensor_is_stored_once_and_loaded_strictly(tmp_path):
    from safetensors.torch import load_file

    model, other = tiny_model("BertForMaskedLM"), tiny_model("BertForMaskedLM", seed=1)
    snapshots.save_weights(model, tmp_path / "weights")
    stored = load_file(tmp_path / "weights")
    names = dict(model.named_parameters())  # each once
    assert sum(tensor.numel() for tensor in stored.values()) == sum(p.numel() for p in names.values())
    snapshots.load_weights(other, tmp_path / "weights")
    assert digest(other) == digest(model)
    assert other.cls.predictions.decoder.weight is other.bert.embeddings.word_embeddings.weight
    with pytest.raises(CheckpointError, match=r"does not fit this BertForSequenceClassification: .*issing key"):
        snapshots.load_weights(tiny_model(), tmp_path / "weights")
    with pytest.raises(CheckpointError, match=r"does not fit this BertForMaskedLM: .*size mismatch"):
        snapshots.load_weights(tiny_model("BertForMaskedLM", type_vocab_size=3), tmp_path / "weights")
    (tmp_path / "weights").write_bytes((tmp_path / "weights").read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="does not fit"):
        snapshots.load_weights(other, tmp_path / "weights")


def test_checkpoints_are_the_last_and_the_best(tokenizer, tmp_path):
    settings = dataclasses.replace(QUICK, epochs=5)  # it is perfect before the end
    outcome = fine_tune(tiny_model(), tokenizer, tiny_data(), settings, out=tmp_path, progress=False)
    assert outcome.best_step < 20
    assert steps(tmp_path) == [outcome.best_step, 20]
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "checkpoint-20").iterdir()}
    assert modes == {(tmp_path / "run.json").stat().st_mode & 0o777}
    # without the best one, a run that is asked for again says what is lost
    (tmp_path / f"checkpoint-{outcome.best_step}" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"best step is missing or not whole.*resume=False"):
        fine_tune(tiny_model(), tokenizer, tiny_data(), settings, out=tmp_path, progress=False)


# ------------------------------------------------------------------------------------------------------ two processes


def in_two_processes(job: str, out: Path, limit: float = 300):
    """What a job of small.py prints last, run by torchrun on the CPU."""
    launch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = run(*launch, small.__file__, job, str(out), limit=limit)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_processes_have_the_loss_curve_of_one(tmp_path):
    """torchrun on the CPU: rows that do not divide evenly, masked text with unequal numbers of tokens."""
    alone = small.both_losses(str(tmp_path / "one"))
    together = in_two_processes("losses", tmp_path / "two")
    assert (alone[-1], together[-1]) == (1, 2)
    for one, two in zip(alone[:3], together[:3]):
        assert len(one) >= 10 and two == pytest.approx(one, abs=1e-5)
    for one, two in zip(alone[3:6], together[3:6]):
        for split, scores in one.items():
            assert two[split] == pytest.approx(scores, abs=1e-4), split
    checkpoint = snapshots.last_whole(tmp_path / "two" / "classes")
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in checkpoint.iterdir()}


def test_a_divided_model_has_the_loss_curve_of_a_whole_one(tmp_path):
    """FSDP in two processes: curves, scores and weights of one process; checkpoints that are whole; a resumed run."""
    alone = small.divided(str(tmp_path / "one"), "ddp")
    together = in_two_processes("divided", tmp_path / "two", limit=900)
    assert (alone["state"]["processes"], together["state"]["processes"]) == (1, 2)
    assert alone["held"] == 1 and 0.4 < together["held"] < 0.6, "each process keeps half of the weights"
    assert together["state"]["resumed_from"] == 3 and together["state"]["total"] == alone["state"]["total"]
    assert set(together["curves"]) == {"adamw", "resumed", "lamb", "classes"}
    for name, curve in alone["curves"].items():
        assert len(curve) >= 6 and together["curves"][name] == pytest.approx(curve, abs=1e-4), name
        for split, scores in alone["scores"][name].items():
            assert together["scores"][name][split] == pytest.approx(scores, rel=1e-3, abs=1e-4), (name, split)
        assert together["weights"][name] == pytest.approx(alone["weights"][name], rel=1e-3, abs=1e-5), name
    assert together["curves"]["resumed"] == together["curves"]["adamw"]
    # each checkpoint is the whole model, in one file that one process loads
    models = []
    for folder in ("one", "two"):
        models.append(small.tiny_mpobert(tiny_tokenizer()))
        last = snapshots.last_whole(tmp_path / folder / "whole")
        snapshots.load_weights(models[-1], last / snapshots.WEIGHTS)
    for one, two in zip(*(model.parameters() for model in models)):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    assert "optimizer.pt" in {path.name for path in last.iterdir()}


def test_one_process_cannot_be_divided(tokenizer):
    with pytest.raises(TrainingError, match=r"among several processes, and here is one: .* torchrun"):
        fine_tune(tiny_model(), tokenizer, tiny_data(), dataclasses.replace(QUICK, parallel="fsdp"), progress=False)
    with pytest.raises(TrainingError, match="parts of the gradients"):
        Settings(parallel="fsdp", precision="fp16")
