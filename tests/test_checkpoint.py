"""A converted model on disk: what comes back in a fresh process, and what happens when something is missing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from mpolab import checkpoint
from mpolab.checkpoint import load, save_pretrained
from mpolab.errors import CheckpointError, ModelNotFoundError
from mpolab.layers import MPOEmbedding, MPOLinear
from mpolab.surgery import freeze_central, mpo_layers, to_dense, to_mpo, trainable_report

ROOT = Path(__file__).resolve().parent.parent
WORDS = 90
SMALL = {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 64, "pad_token_id": 0}
GPT2 = {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
T5 = {"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "pad_token_id": 0}
# name -> (class, config, arguments of to_mpo). Llama has rotary frequencies, BERT position numbers: buffers that no
# file holds. The gated T5 scales nothing before its tied head.
MODELS = {
    "albert": ("AlbertForSequenceClassification", SMALL | {"embedding_size": 16, "num_labels": 3}, {"bond": 6}),
    "bert": ("BertForMaskedLM", SMALL, {"ratio": 0.5, "mode": "factorized", "keep_weight": False}),
    "mobilebert": (
        "MobileBertForMaskedLM",
        SMALL | {"hidden_size": 48, "embedding_size": 16, "intra_bottleneck_size": 32, "true_hidden_size": 32},
        {"bond": 6},
    ),
    "distilbert": (
        "DistilBertForMaskedLM",
        {"vocab_size": WORDS, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "sinusoidal_pos_embds": True},
        {"bond": 6},
    ),
    "gpt2": ("GPT2LMHeadModel", GPT2, {"n": 3, "ratio": 0.6, "allocation": "spectra"}),
    "t5": ("T5ForConditionalGeneration", T5 | {"decoder_start_token_id": 0}, {"bond": 6}),
    "flan": (
        "T5ForConditionalGeneration",
        T5 | {"decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        {"bond": 6},
    ),
    "llama": ("LlamaForCausalLM", SMALL | {"num_key_value_heads": 2}, {"plan": "linear", "bond": 6}),
}


def build(name: str, seed: int = 0) -> nn.Module:
    """A small converted model, its central tensors frozen, in training mode."""
    class_name, values, arguments = MODELS[name]
    model_class = getattr(transformers, class_name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(model_class.config_class(**values))
        for parameter in model.parameters():
            parameter.data.add_(0.05 * torch.randn(parameter.shape))
    return freeze_central(to_mpo(model.train(), progress=False, **arguments))


def inputs(model: nn.Module) -> dict[str, torch.Tensor]:
    ids = (torch.arange(14).reshape(2, 7) * 17) % 80 + 3
    return {"input_ids": ids} | ({"decoder_input_ids": ids[:, :5]} if model.config.is_encoder_decoder else {})


def outputs(model: nn.Module) -> torch.Tensor:
    training = model.training
    with torch.no_grad():
        found = model.eval()(**inputs(model)).logits
    model.train(training)
    return found


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, tuple[nn.Module, Path]]:
    """All models, each in its folder."""
    folder = tmp_path_factory.mktemp("saved")
    models = {name: build(name) for name in MODELS}
    return {name: (model, save_pretrained(model, folder / name)) for name, model in models.items()}


@pytest.fixture
def copied(saved, tmp_path) -> Path:
    """BERT's folder, to be damaged."""
    return Path(shutil.copytree(saved["bert"][1], tmp_path / "copy"))


IN_A_FRESH_PROCESS = """
import json, sys
import torch
from safetensors.torch import save_file
from pathlib import Path
from mpolab.checkpoint import load
torch.set_num_threads(1)
folder = Path(sys.argv[1])
report, found = {}, {}
for path in sorted(folder.iterdir()):
    model = load(path)
    ids = (torch.arange(14).reshape(2, 7) * 17) % 80 + 3
    more = {"decoder_input_ids": ids[:, :5]} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        found[path.name] = model(input_ids=ids, **more).logits.contiguous()
    report[path.name] = {
        "training": [name for name, module in model.named_modules() if module.training],
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "stored": sum(p.numel() for p in model.parameters()),
        "meta": [name for name, t in [*model.named_parameters(), *model.named_buffers()] if t.is_meta],
        "buffers": {name: [list(b.shape), float(b.double().sum())] for name, b in model.named_buffers()},
        "modules": {name: type(m).__name__ for name, m in model.named_modules()},
    }
save_file(found, sys.argv[2])
print(json.dumps(report))
"""


def test_a_fresh_process_gets_the_same_model(saved, tmp_path):
    folder = next(iter(saved.values()))[1].parent
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, str(folder), str(tmp_path / "out.safetensors")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report, found = json.loads(done.stdout.splitlines()[-1]), load_file(tmp_path / "out.safetensors")
    for name, (model, path) in saved.items():
        there = report[name]
        assert torch.allclose(found[name], outputs(model), atol=1e-6), name
        assert there["training"] == [] and there["meta"] == []
        assert there["requires_grad"] == {n: p.requires_grad for n, p in model.named_parameters()}
        assert not all(there["requires_grad"].values())
        assert there["stored"] == trainable_report(model).total
        assert there["buffers"] == {n: [list(b.shape), float(b.double().sum())] for n, b in model.named_buffers()}
        assert there["modules"] == {n: type(m).__name__ for n, m in model.named_modules()}
        in_file = load_file(path / "model.safetensors")
        persistent = [n for n, _ in model.named_buffers() if n in model.state_dict()]
        assert sum(t.numel() for n, t in in_file.items() if n not in persistent) == there["stored"], name


def test_the_files_say_what_they_are(saved):
    model, folder = saved["t5"]
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "mpolab.json",
    ]
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["T5ForConditionalGeneration"]
    about = json.loads((folder / "mpolab.json").read_text())
    assert about["format"] == "mpolab.model/1" and about["class"] == "T5ForConditionalGeneration"
    assert about["layers"].keys() == mpo_layers(model).keys()
    assert about["heads"]["lm_head"] == {"type": "head", "owner": "shared", "bias": False}
    assert about["heads"]["decoder.embed_tokens"]["owner"] == "shared"
    query = about["layers"]["encoder.block.0.layer.0.SelfAttention.q"]
    layer = model.encoder.block[0].layer[0].SelfAttention.q
    assert query["bonds"] == layer.bonds and query["rows"] == list(layer.plan.rows) and query["mode"] == "auto"
    tied = json.loads((saved["bert"][1] / "mpolab.json").read_text())["tied"]
    assert tied == {"cls.predictions.decoder.bias": "cls.predictions.bias"}
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1  # nobody is shut out from one of them


def test_settings_and_ties_come_back(saved):
    model, folder = saved["bert"]
    again = load(folder)
    assert {(la.mode, la.keep_weight) for la in mpo_layers(again).values()} == {("factorized", False)}
    head = again.cls.predictions
    assert head.decoder.bias is head.bias
    assert head.decoder.embedding is again.bert.embeddings.word_embeddings
    assert again.bert.embeddings.word_embeddings.padding_idx == 0
    again.train()
    again(**inputs(again)).logits.square().mean().backward()
    assert head.bias.grad is not None
    assert again.get_output_embeddings() is head.decoder
    again.tie_weights()
    assert trainable_report(again) == trainable_report(model)
    dense = to_dense(again)
    assert dense.cls.predictions.decoder.weight is dense.bert.embeddings.word_embeddings.weight
    assert torch.allclose(outputs(dense), outputs(model), atol=1e-5)
    assert load(saved["gpt2"][1]).transformer.h[0].attn.c_attn.transposed


def test_a_loaded_model_is_written_as_it_was(saved, tmp_path):
    first = saved["albert"][1]
    folder = save_pretrained(load(first), tmp_path / "again")
    for file in ("mpolab.json", "config.json"):
        assert (folder / file).read_bytes() == (first / file).read_bytes()
    tensors = [load_file(path / "model.safetensors") for path in (first, folder)]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_a_model_without_mpos_and_half_precision_and_a_tokenizer(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    model = to_dense(build("albert")).to(torch.bfloat16)
    folder = save_pretrained(model, tmp_path / "new" / "folder", tokenizer)
    again = load(folder)
    assert torch.equal(outputs(again), outputs(model))
    assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
    assert transformers.AutoTokenizer.from_pretrained(folder)("a b c")["input_ids"] == [1, 2, 0]


def test_layers_cut_after_the_conversion_keep_their_bonds(saved, tmp_path):
    model = build("albert")
    layer = model.albert.pooler
    layer.set_cores([core.detach() for core in layer.mpo().truncate(bond=3).cores])
    again = load(save_pretrained(model, tmp_path))
    assert again.albert.pooler.bonds == layer.bonds and max(layer.bonds) == 3
    assert torch.allclose(outputs(again), outputs(model), atol=1e-6)


def test_any_other_folder_is_a_pretrained_model(saved, tmp_path):
    dense = to_dense(build("albert"))
    dense.save_pretrained(tmp_path)
    model = load(tmp_path)
    assert type(model).__name__ == "AlbertModel" and not mpo_layers(model)
    with pytest.raises(ModelNotFoundError):
        load(tmp_path / "nowhere")


# -- whole or not at all ---------------------------------------------------------------------------


def failing_in(module, name, monkeypatch, after: int = 0):
    """Lets `module.name` raise "no space left" from its call number `after` on."""
    real, calls = getattr(module, name), []

    def full(*arguments, **options):
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, full)


@pytest.mark.parametrize("step", ["config", "weights", "plan", "flush"])
def test_a_full_disk_leaves_the_old_checkpoint_as_it_was(step, copied, monkeypatch):
    (copied / "notes.txt").write_text("mine")
    before = {file.name: file.read_bytes() for file in copied.iterdir()}
    model = build("albert")
    owner, name = {
        "config": (type(model.config), "save_pretrained"),
        "weights": (sys.modules["safetensors.torch"], "save_file"),
        "plan": (Path, "write_text"),
        "flush": (os, "fsync"),
    }[step]
    failing_in(owner, name, monkeypatch)
    with pytest.raises(CheckpointError, match=r"No space left.*unchanged"):
        save_pretrained(model, copied)
    with pytest.raises(CheckpointError):
        save_pretrained(model, copied.parent / "fresh")
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in copied.iterdir()} == before
    assert not (copied.parent / "fresh").exists()
    assert type(load(copied)).__name__ == "BertForMaskedLM"
    save_pretrained(model, copied)
    assert type(load(copied)).__name__ == "AlbertForSequenceClassification"
    assert (copied / "notes.txt").read_text() == "mine"


def test_a_file_that_cannot_grow_is_noticed(saved, copied):
    """A real failing write: the process may write no file as long as the weights."""
    resource = pytest.importorskip("resource")
    before = {file.name: file.read_bytes() for file in copied.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="unchanged"):
            save_pretrained(saved["albert"][0], copied)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {file.name: file.read_bytes() for file in copied.iterdir()} == before


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_process_that_ends_between_two_renames_leaves_nothing_that_loads_wrongly(after, copied, saved, monkeypatch):
    model = build("bert", seed=1)
    model.bert.encoder.layer[0].attention.self.query.set_cores(
        [core.detach() for core in model.bert.encoder.layer[0].attention.self.query.mpo().truncate(bond=2).cores]
    )
    failing_in(checkpoint.os, "replace", monkeypatch, after)
    with pytest.raises(CheckpointError, match="No space left"):
        save_pretrained(model, copied)
    monkeypatch.undo()
    try:
        again = load(copied)
    except CheckpointError:
        return
    assert torch.allclose(outputs(again), outputs(saved["bert"][0]), atol=1e-6)


def test_what_a_killed_process_left_is_swept_up(copied, saved):
    (copied / ".mpolab-abc123").mkdir()
    (copied / ".mpolab-abc123" / "model.safetensors").write_bytes(b"half")
    save_pretrained(saved["bert"][0], copied)
    assert not list(copied.glob(".mpolab-*"))


def test_a_model_without_its_pooler_comes_back_without(tmp_path):
    """As load_pretrained makes it of a file that has none."""
    model = small_bert()
    model.pooler = None
    save_pretrained(to_mpo(model, "mpop", bond=4, progress=False), tmp_path)
    again, ids = load(tmp_path), torch.arange(14).reshape(2, 7)
    assert again.pooler is None and "pooler" not in "".join(again.state_dict())
    with torch.no_grad():
        assert torch.allclose(again(ids).last_hidden_state, model(ids).last_hidden_state, atol=1e-6)


def small_bert() -> nn.Module:
    config = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": 2}
    return transformers.BertModel(transformers.BertConfig(**config, vocab_size=80)).eval()


def test_a_model_that_load_could_not_build_is_not_saved(tmp_path):
    model = small_bert()
    model.adapter = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r"could not build it again.*'adapter"):
        save_pretrained(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


# -- bad input -------------------------------------------------------------------------------------


def edit_plan(folder: Path, change) -> None:
    about = json.loads((folder / "mpolab.json").read_text())
    change(about)
    (folder / "mpolab.json").write_text(json.dumps(about))


def edit_weights(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


QUERY = "bert.encoder.layer.0.attention.self.query"


def truncate(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda f: edit_weights(f, lambda t: t.pop(f"{QUERY}.cores.2")), rf"lacks '{QUERY}.cores.2' \(1 of"),
        (lambda f: edit_weights(f, lambda t: t.pop("cls.predictions.bias")), "lacks 'cls.predictions.bias'"),
        (
            lambda f: edit_weights(f, lambda t: t.update({f"{QUERY}.cores.2": torch.zeros(3, 2, 2, 3)})),
            rf"'{QUERY}.cores.2' in shape \(3, 2, 2, 3\), and BertForMaskedLM needs",
        ),
        (lambda f: edit_weights(f, lambda t: t.update(strange=torch.zeros(1))), "holds 'strange'"),
        (truncate, "no whole safetensors file"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda f: (f / "mpolab.json").unlink(), r"mpolab.json beside it.*missing"),
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "makes no BertForMaskedLM"),
        (lambda f: (f / "mpolab.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "mpolab.json").write_text("[]"), "cannot be read"),
        (lambda f: edit_plan(f, lambda a: a.update(format="mpolab.model/9")), "'mpolab.model/9'"),
        (lambda f: edit_plan(f, lambda a: a.pop("layers")), "no whole entry 'layers'"),
        (lambda f: edit_plan(f, lambda a: a.update({"class": "GPT9"})), "'GPT9'.*no model class"),
        (lambda f: edit_plan(f, lambda a: a.update({"class": "os.system"})), "no model class"),
        (lambda f: edit_plan(f, lambda a: a["layers"].pop(QUERY)), rf"cores of '{QUERY}', for which mpolab.json has"),
        (lambda f: edit_plan(f, lambda a: a["layers"][QUERY].pop("bonds")), rf"entry '{QUERY}'.*bonds"),
        (lambda f: edit_plan(f, lambda a: a["layers"][QUERY].update(bonds=[1, 0, 1])), rf"entry '{QUERY}'"),
        (lambda f: edit_plan(f, lambda a: a["layers"].update(x=a["layers"][QUERY])), "entry 'x'.*fits no module"),
        (
            lambda f: edit_plan(f, lambda a: a["heads"]["cls.predictions.decoder"].update(owner="bert.words")),
            "entry 'cls.predictions.decoder'",
        ),
        (lambda f: edit_plan(f, lambda a: a["tied"].update(x="y")), "lacks 'y'"),
        (lambda f: edit_plan(f, lambda a: a["frozen"].pop()), "not written together"),
    ],
)
def test_damage_is_found_and_named(damage, message, copied):
    damage(copied)
    with pytest.raises(CheckpointError, match=message):
        load(copied)


def test_models_that_could_not_be_loaded_again_are_not_saved(tmp_path):
    with pytest.raises(CheckpointError, match="Sequential is no model class of transformers"):
        save_pretrained(nn.Sequential(nn.Linear(8, 8)), tmp_path / "a")
    with torch.device("meta"):
        empty = transformers.AlbertModel(transformers.AlbertConfig(**SMALL))
    with pytest.raises(CheckpointError, match=r"embeddings\..*meta device"):
        save_pretrained(empty, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is a file"):
        save_pretrained(build("albert"), tmp_path / "file")


def test_settings_for_pretrained_models_do_not_apply_to_converted_ones(saved):
    with pytest.raises(CheckpointError, match="head"):
        load(saved["bert"][1], head="masked-lm")


def test_building_leaves_the_random_numbers_and_torch_as_they_were(saved):
    state, register = torch.get_rng_state(), nn.Module.register_parameter
    model = load(saved["distilbert"][1])
    assert torch.equal(torch.get_rng_state(), state) and nn.Module.register_parameter is register
    assert isinstance(model.distilbert.embeddings.word_embeddings, MPOEmbedding)
    assert isinstance(model.distilbert.transformer.layer[0].ffn.lin1, MPOLinear)
