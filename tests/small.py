"""Tiny models, a tiny tokenizer and rows made up in memory, for the tests of training. They stand for no result.

Also what a subprocess of those tests runs: `python small.py JOB OUT`.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

WORDS = (
    "a the cat dog bird fish good bad nice ugly runs sleeps eats very not is was and or big small red blue house tree "
    "who where in on city river king what".split()
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def settle() -> None:
    """Accelerate collects garbage at the start of every training, through every object of every imported library,
    which takes longer than these trainings do: after this it passes over those that are there now.
    """
    import transformers.trainer  # noqa: F401

    gc.collect()
    gc.freeze()


def tiny_tokenizer(pad: bool = True):
    """WordPiece over WORDS and letters; without padding token, like GPT-2's, if not `pad`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *WORDS, *(c for c in LETTERS if c != "a")]
    vocabulary += [f"##{letter}" for letter in LETTERS]
    ids = {word: k for k, word in enumerate(vocabulary)}
    inside = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    inside.normalizer = normalizers.BertNormalizer(lowercase=True)
    inside.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inside.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    special = {"pad_token": "[PAD]"} if pad else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=inside, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
        eos_token="[SEP]", model_max_length=64, **special,
    )  # fmt: skip


def tiny_model(cls: str = "BertForSequenceClassification", seed: int = 0, dropout: float = 0.1, **config) -> nn.Module:
    import transformers

    size = len(tiny_tokenizer())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if cls.startswith("GPT2"):
            about = transformers.GPT2Config(
                vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=64, resid_pdrop=dropout,
                embd_pdrop=dropout, attn_pdrop=dropout, bos_token_id=3, eos_token_id=3, **config,
            )  # fmt: skip
        else:
            about = transformers.BertConfig(
                vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                max_position_embeddings=64, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
                pad_token_id=0, **config,
            )  # fmt: skip
        return getattr(transformers, cls)(about)


def family(kind: str) -> nn.Module:
    """A tiny random model of a family, for the tests of loading and listing."""
    import transformers as t

    torch.manual_seed(7)
    common = dict(vocab_size=50, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    bert = dict(common, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    t5 = dict(common, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=3, num_heads=2)
    if kind == "bert":
        return t.BertModel(t.BertConfig(**bert))
    if kind == "bert masked":
        return t.BertForMaskedLM(t.BertConfig(**bert))
    if kind == "roberta":
        return t.RobertaModel(t.RobertaConfig(**bert))
    if kind == "albert":
        return t.AlbertModel(t.AlbertConfig(**{**bert, "num_hidden_layers": 12}, embedding_size=8))
    if kind == "albert masked":
        return t.AlbertForMaskedLM(t.AlbertConfig(**{**bert, "num_hidden_layers": 12}, embedding_size=8))
    if kind == "distilbert":
        config = t.DistilBertConfig(**common, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
        return t.DistilBertForMaskedLM(config)
    if kind == "gpt2":
        return t.GPT2LMHeadModel(t.GPT2Config(**common, n_embd=16, n_layer=2, n_head=2, n_positions=32))
    if kind == "t5":
        return t.T5ForConditionalGeneration(t.T5Config(**t5))
    if kind == "t5 gated":
        return t.T5ForConditionalGeneration(t.T5Config(**t5, feed_forward_proj="gated-gelu"))
    raise KeyError(kind)


def save_family(folder: Path, kind: str) -> Path:
    """The folder, with a tiny model of that family in it."""
    from mpolab.pretrained import quiet_transformers

    with quiet_transformers():
        family(kind).save_pretrained(folder)
    return folder


def message(error, *parts: str) -> str:
    """The text of a caught error: one paragraph that has every part."""
    text = str(error.value)
    assert "\n" not in text
    for part in parts:
        assert part in text, f"{part!r} not in {text!r}"
    return text


def sentences(count: int, seed: int, kind: str = "single") -> list[dict]:
    """Rows whose label the words give away: 1 with "good", 0 with "bad" (regression: how many words)."""
    g = torch.Generator().manual_seed(seed)
    rows = []
    for k in range(count):
        length = int(torch.randint(2, 9, (1,), generator=g))
        words = [WORDS[i] for i in torch.randint(len(WORDS), (length,), generator=g).tolist()]
        words = [word for word in words if word not in ("good", "bad")] or ["cat"]
        label = int(torch.randint(2, (1,), generator=g))
        row = {"id": f"{seed}-{k}", "text": " ".join([("bad", "good")[label], *words]), "label": label}
        if kind != "single":
            row["text_pair"] = "the " + words[-1]
        if kind == "regression":
            row["label"] = len(words) / 2
        rows.append(row)
    return rows


def questions(count: int, seed: int, long: bool = False) -> list[dict]:
    """Questions whose answer is the word after the one asked about; `long`: among many others."""
    g = torch.Generator().manual_seed(seed)
    rows = []
    for k in range(count):
        words = [WORDS[i] for i in torch.randint(25, (60 if long else 8,), generator=g).tolist()]
        place = int(torch.randint(len(words), (1,), generator=g))
        words[place] = "king"
        words.insert(place + 1, ("city", "river")[k % 2])
        context = " ".join(words)
        begin = len(" ".join(words[: place + 1])) + 1
        answer = {"text": [words[place + 1]], "answer_start": [begin]}
        rows.append({"id": f"{seed}-{k}", "question": "where is the king ?", "context": context, "answers": answer})
    return rows


def tiny_data(kind: str = "single", train: int = 64, select: int = 24, dev: int = 24):
    """A TaskData of that kind with splits train, select and dev (a size of 0: without)."""
    from mpolab.data import TASKS, TaskData

    task = TASKS[{"single": "SST-2", "pair": "RTE", "regression": "STS-B", "span": "SQuAD"}[kind]]
    make = questions if kind == "span" else lambda count, seed: sentences(count, seed, kind)
    sizes = {"train": train, "select": select, "dev": dev}
    return TaskData(task, {s: make(n, k) for k, (s, n) in enumerate(sizes.items()) if n}, "made up")


def tiny_text(train: int = 120, valid: int = 40):
    from mpolab.data import TextData

    texts = {"train": train, "valid": valid, "test": valid}
    return TextData(
        "made up", {s: [row["text"] for row in sentences(n, k)] for k, (s, n) in enumerate(texts.items())}, "made up"
    )


@contextmanager
def one_of_two(rank: int, folder: str) -> Iterator[None]:
    """Around all that a process of two does that were spawned, with gloo on the CPU; it ends with the block."""
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        yield
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
    os._exit(0)  # gloo's threads now and then abort a process that shuts its interpreter down


def digest(model: nn.Module) -> str:
    """A checksum of all weights, to the last bit."""
    data = b"".join(tensor.detach().cpu().contiguous().numpy().tobytes() for tensor in model.state_dict().values())
    return hashlib.sha256(data).hexdigest()


# ----------------------------------------------------------------------------------------------------------- jobs


def resumable(out: str) -> str:
    """One run with everything that a resumed one must get right: dropout, accumulation, a schedule, early stopping.

    Its last weights, its curve and its evaluations, as a checksum and JSON.
    """
    from mpolab import snapshots
    from mpolab.training import Settings, fine_tune

    settings = Settings(epochs=4, batch_size=8, accumulation=2, lr=2e-3, eval_every=5, patience=50, max_length=16)
    model = tiny_model()
    outcome = fine_tune(model, tiny_tokenizer(), tiny_data(train=61), settings, seed=3, out=out, progress=False)
    best = digest(model)
    last = tiny_model(seed=1)
    snapshots.load_weights(last, snapshots.last_whole(Path(out)) / snapshots.WEIGHTS)
    return json.dumps([best, digest(last), outcome.curve, outcome.evaluations, outcome.scores, outcome.best_step])


def killed(out: str) -> None:
    """The same run, killed while it writes the checkpoint of step 15: the weights are there, the rest is not."""
    real = torch.save

    def save(value, file, *args, **kwargs):
        if "checkpoint-15" in str(file):
            Path(file).write_bytes(b"half a file")
            os.kill(os.getpid(), signal.SIGKILL)
        return real(value, file, *args, **kwargs)

    torch.save = save
    resumable(out)


def both_losses(out: str) -> list:
    """Loss curves without dropout: a classification with uneven batches, masked text, and pre-training, whose loss is
    the sum of two means.
    """
    from mpolab.training import Settings, fine_tune, pretrain, train_lm

    settings = Settings(epochs=2, batch_size=12, lr=2e-3, schedule="constant", max_length=16, eval_every=3)
    tokenizer = tiny_tokenizer()
    model = tiny_model(dropout=0.0)
    first = fine_tune(model, tokenizer, tiny_data(train=55), settings, out=f"{out}/classes", progress=False)
    text = tiny_model("BertForMaskedLM", dropout=0.0)
    second = train_lm(text, tokenizer, tiny_text(), settings, progress=False)
    third = pretrain(tiny_albert(tokenizer), tokenizer, tiny_tokens(tokenizer, Path(out)), settings, progress=False)
    outcomes = (first, second, third)
    curves = [[entry["loss"] for entry in outcome.curve] for outcome in outcomes]
    return [*curves, *(outcome.scores for outcome in outcomes), first.state["processes"]]


def tiny_albert(tokenizer):
    from transformers import AlbertConfig, AlbertForPreTraining

    shape = {"embedding_size": 8, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32,
             "num_hidden_layers": 2, "max_position_embeddings": 32, "hidden_dropout_prob": 0.0,
             "attention_probs_dropout_prob": 0.0, "classifier_dropout_prob": 0.0}  # fmt: skip
    torch.manual_seed(0)
    return AlbertForPreTraining(AlbertConfig(vocab_size=len(tokenizer), **shape))


def tiny_mpobert(tokenizer, layers: int = 3):
    """Two groups of layers, an adapter, own biases: everything that may be shared or not."""
    from mpolab.mpobert import MPOBertForPreTraining
    from mpolab.mpobert_config import MPOBertConfig

    config = MPOBertConfig(
        vocab_size=len(tokenizer), embedding_size=8, hidden_size=16, num_attention_heads=2, intermediate_size=64,
        num_hidden_layers=layers, max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        classifier_dropout_prob=0.0, num_central_groups=2, adapter_rank=2, mpo_n=3,
    )  # fmt: skip
    torch.manual_seed(0)
    return MPOBertForPreTraining(config)


def divided(out: str, parallel: str) -> dict:
    """Trainings whose curves must not depend on how the model is divided: pre-training with AdamW and micro-batches, of
    which a second try is interrupted and goes on; with LAMB; and a classification, whose best weights stay in memory.
    """
    from transformers import TrainerCallback

    from mpolab.training import Settings, fine_tune, pretrain

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise KeyboardInterrupt

    class Weigh(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            of_tensors = [p.to_local() if hasattr(p, "to_local") else p for p in model.parameters()]
            found["held"] = sum(p.numel() for p in of_tensors) / sum(p.numel() for p in model.parameters())

    tokenizer = tiny_tokenizer()
    tokens = tiny_tokens(tokenizer, Path(out))
    lamb = Settings(max_steps=6, batch_size=12, lr=2e-2, max_length=16, optimizer="lamb", epsilon=1e-6,
                    parallel=parallel)  # fmt: skip
    adamw = dataclasses.replace(lamb, max_steps=8, accumulation=3, lr=5e-3, optimizer="adamw", eval_every=3)
    found = {"curves": {}, "scores": {}, "weights": {}}

    def note(name: str, model: nn.Module, outcome) -> None:
        found["curves"][name] = [entry["loss"] for entry in outcome.curve]
        found["scores"][name] = outcome.scores
        found["weights"][name] = [float(p.detach().double().square().sum()) for p in model.parameters()]
        found["state"] = {**outcome.state, "total": outcome.total}

    model = tiny_mpobert(tokenizer)
    note("lamb", model, pretrain(model, tokenizer, tokens, lamb, progress=False, callbacks=[Weigh()]))
    model = tiny_model(dropout=0.0)
    settings = Settings(epochs=2, batch_size=12, lr=2e-3, max_length=16, eval_every=3, parallel=parallel)
    note("classes", model, fine_tune(model, tokenizer, tiny_data(train=55), settings, progress=False))
    model = tiny_mpobert(tokenizer)
    note("adamw", model, pretrain(model, tokenizer, tokens, adamw, out=f"{out}/whole", progress=False))
    try:
        model = tiny_mpobert(tokenizer)
        pretrain(model, tokenizer, tokens, adamw, out=f"{out}/cut", progress=False, callbacks=[Stop()])
    except KeyboardInterrupt:
        model = tiny_mpobert(tokenizer)
        note("resumed", model, pretrain(model, tokenizer, tokens, adamw, out=f"{out}/cut", progress=False))
    return found


def tiny_tokens(tokenizer, folder: Path):
    """Rows for pre-training; several processes make them at once."""
    from mpolab import segments

    splits = {split: [". ".join(texts).title()] for split, texts in tiny_text().splits.items()}
    return segments.prepare("made up", splits, tokenizer, 16, folder / "tokens", progress=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    job, out = sys.argv[1:]
    if job == "resumable":
        print(resumable(out))
    elif job == "killed":
        killed(out)
    else:
        found = divided(out, "fsdp") if job == "divided" else both_losses(out)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(found), flush=True)
        if "RANK" in os.environ:
            torch.distributed.barrier()
            os._exit(0)  # gloo's threads now and then abort a process that shuts its interpreter down
