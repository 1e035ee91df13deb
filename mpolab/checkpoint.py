"""A converted model on disk, and back: config.json, model.safetensors, mpolab.json, and the tokenizer's files.

mpolab.json says what the class and its config cannot: which modules are MPOs, their factors and bonds, what is tied to
what, and which parameters are frozen. Every shared tensor is stored once. Loading builds the model from its config with
parameters that have no numbers yet, puts empty MPOs in their places and fills all of it from the file: the original
weights are never needed, and nothing is unpickled. Notebook 02, "Compression".

    save_pretrained(model, "small", tokenizer)
    model = mpolab.load("small")
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import CheckpointError
from .layers import MPOEmbedding, MPOLinear, MPOTiedHead
from .moe import MOE, SUFFIX, class_with_experts, to_moe
from .plans import Plan
from .pretrained import load_pretrained
from .surgery import MPOTiedEmbedding, owner_of, put_module, settle

FORMAT = "mpolab.model/1"
ABOUT, WEIGHTS = "mpolab.json", "model.safetensors"
STAGE = ".mpolab-"  # begins the name of a folder under way


# -- saving ----------------------------------------------------------------------------------------


def save_pretrained(model: nn.Module, folder: str | os.PathLike, tokenizer: Any = None) -> Path:
    """Writes a model, converted or not, so that `load` needs nothing else; returns the folder.

    All files are written to a temporary folder inside `folder` first and then renamed into place, so that a full disk
    or an interruption while writing leaves what was there before; other files in the folder stay.

    Raises CheckpointError for a model that `load` could not build again (no transformers class, no numbers), and
    where writing fails.
    """
    name = type(model).__name__
    if _model_class(name) is not type(model):
        raise CheckpointError(
            f"{name} is no model class of transformers or mpolab, so load() could not build it again. Save its "
            "state_dict() yourself, or save the transformers model inside it."
        )
    tensors, tied = _tensors(model)
    usual = _built(type(model), model.config, getattr(model, MOE, None))
    about = describe(model) | {"tied": tied, "absent": _absent(model, usual)}
    _check_loadable(model, usual, tensors, about)
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{str(folder)!r} is a file; a model is saved to a folder.")
    new, whole, stage = not folder.exists(), False, None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{STAGE}*"):  # of a process that was killed while it wrote
            shutil.rmtree(left, ignore_errors=True)
        stage = Path(tempfile.mkdtemp(dir=folder, prefix=STAGE))
        _write(model, tokenizer, tensors, about, stage)
        for file in _in_order(stage):
            target = folder / file.relative_to(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
        whole = True
    except OSError as problem:
        raise CheckpointError(f"{str(folder)!r} could not be written ({problem}).") from problem
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
        if new and not whole:
            with contextlib.suppress(OSError):
                folder.rmdir()
    return folder


def _absent(model: nn.Module, usual: nn.Module) -> list[str]:
    """Paths of modules that the class makes of this config and that this model is without, such as a pooler."""
    there = dict(model.named_modules(remove_duplicate=False))
    return [
        f"{path}.{name}".lstrip(".")
        for path, module in usual.named_modules()
        for name, child in module._modules.items()
        if child is not None and path in there and there[path]._modules.get(name, child) is None
    ]


def _check_loadable(
    model: nn.Module, again: nn.Module, tensors: dict[str, torch.Tensor], about: dict[str, Any]
) -> None:
    """Makes of `again`, as its class builds it, what `load` would, without numbers, and compares.

    Raises CheckpointError where it is another.
    """
    try:
        _without(again, about["absent"])
        _put_layers(again, Path(), about)
        expected = {name: tuple(tensor.shape) for name, tensor in again.state_dict(keep_vars=True).items()}
        _check(expected, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, about, Path("the model"))
    except CheckpointError as problem:
        raise CheckpointError(
            f"this {type(model).__name__} has been changed so that load() could not build it again from its config: "
            f"{problem} Save its state_dict() yourself."
        ) from problem


def describe(model: nn.Module) -> dict[str, Any]:
    """What mpolab.json holds, but for the plain tied tensors: JSON types only, layers by path."""
    layers, ties = {}, {}
    places: dict[int, str] = {}  # id of a module -> the first path to it
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, MPOLinear | MPOEmbedding) and id(module) in places:
            layers[places[id(module)]]["also"].append(path)
        elif isinstance(module, MPOLinear | MPOEmbedding):
            places[id(module)] = path
            layers[path] = _entry(module) | {"also": []}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, MPOTiedHead | MPOTiedEmbedding):
            kind = "head" if isinstance(module, MPOTiedHead) else "embedding"
            ties[path] = {"type": kind, "owner": places[id(owner_of(module))], "bias": _has_bias(module)}
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    experts = {"experts": getattr(model, MOE)} if hasattr(model, MOE) else {}
    name = type(model).__name__
    return {"format": FORMAT, "class": name, "layers": layers, "heads": ties, "frozen": frozen, **experts}


def _entry(layer: MPOLinear | MPOEmbedding) -> dict[str, Any]:
    plan = layer.plan
    entry = {"rows": plan.rows, "cols": plan.cols, "shape": plan.shape, "bonds": layer.bonds}
    entry = {name: [int(size) for size in sizes] for name, sizes in entry.items()}
    entry |= {"mode": layer.mode, "keep_weight": layer.keep_weight}
    if isinstance(layer, MPOEmbedding):
        return {"type": "embedding", **entry, "padding_idx": layer.padding_idx}
    return {"type": "linear", **entry, "bias": _has_bias(layer), "transposed": layer.transposed}


def _has_bias(module: nn.Module) -> bool:
    return getattr(module, "bias", None) is not None


def _tensors(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The state dict with every tensor once, and {further name: the name it is stored under}."""
    tensors: dict[str, torch.Tensor] = {}
    tied: dict[str, str] = {}
    names: dict[int, str] = {}
    storages: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_meta:
            raise CheckpointError(f"{name} is on the meta device and has no numbers that could be saved.")
        if id(tensor) in names:
            tied[name] = names[id(tensor)]
            continue
        names[id(tensor)] = name
        numbers = tensor.detach().cpu().contiguous()
        storage = numbers.untyped_storage().data_ptr()
        # safetensors takes no two tensors of one storage, which slices of a larger tensor would be
        tensors[name] = numbers.clone() if storage in storages and numbers.numel() else numbers
        storages.add(storage)
    return tensors, tied


def _write(model: nn.Module, tokenizer: Any, tensors: dict, about: dict, stage: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    text = _text(about)
    config = copy.deepcopy(model.config)
    config.architectures = [about["class"]]
    try:
        config.save_pretrained(stage)
        generation = getattr(model, "generation_config", None)
        if generation is not None:
            generation.save_pretrained(stage)
        if tokenizer is not None:
            tokenizer.save_pretrained(stage)
        # the plan goes into the weights' header as well: whoever finds two that differ knows that they do not belong
        save_file(tensors, stage / WEIGHTS, metadata={"format": "pt", "mpolab": text})
        (stage / ABOUT).write_text(text + "\n", encoding="utf-8")
        usual = (stage / ABOUT).stat().st_mode  # safetensors makes files that only their owner reads
        for file in _in_order(stage):
            file.chmod(usual)
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(
            f"{str(stage.parent)!r} could not be written ({problem}); what was there before is unchanged."
        ) from problem


def _text(about: dict[str, Any]) -> str:
    return json.dumps(about, indent=1)


def _in_order(stage: Path) -> list[Path]:
    """All files, the weights and mpolab.json last."""
    return sorted((f for f in stage.rglob("*") if f.is_file()), key=lambda f: (f.name == ABOUT, f.name == WEIGHTS, f))


# -- loading ---------------------------------------------------------------------------------------


def load(folder_or_name: str | os.PathLike, **options: Any) -> nn.Module:
    """The model that `save_pretrained` wrote to a folder; of any other folder or name, the pre-trained model.

    A folder with mpolab.json is rebuilt without the original weights: same cores, ties, frozen parameters, buffers;
    in eval mode, on the CPU. Anything else goes to `pretrained.load_pretrained` with the `options`.

    Raises CheckpointError where a file, an entry or a tensor is missing, damaged or of another shape, and says which;
    ModelNotFoundError for a name that is nowhere.
    """
    folder = Path(folder_or_name).expanduser()
    if not (folder / ABOUT).is_file():
        if (folder / WEIGHTS).is_file() and any(".cores." in name for name in _header(folder / WEIGHTS)[0]):
            raise CheckpointError(
                f"{str(folder / WEIGHTS)!r} holds MPOs, but {ABOUT} beside it, which says how they fit together, is "
                "missing: copy the whole folder again, or save the model with mpolab's save_pretrained, not its own."
            )
        return load_pretrained(folder_or_name, tokenizer=False, **options).model
    if options:
        raise CheckpointError(
            f"{', '.join(options)}: a converted model is loaded as it was saved; these settings are for pre-trained "
            "models that are not converted yet."
        )
    about = _read_about(folder / ABOUT)
    model = _skeleton(folder, about)
    _put_layers(model, folder, about)
    _fill(model, folder, about)
    generation = folder / "generation_config.json"
    if generation.is_file() and getattr(model, "generation_config", None) is not None:
        model.generation_config = type(model.generation_config).from_pretrained(folder)
    return model.eval()


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        form = about.get("format")
    except (OSError, ValueError, AttributeError) as problem:
        raise CheckpointError(f"{str(path)!r} cannot be read ({problem}); save the model again.") from None
    if form != FORMAT:
        raise CheckpointError(f"{str(path)!r} is of format {form!r}, and this version of mpolab reads {FORMAT!r}.")
    parts = {"class": str, "layers": dict, "heads": dict, "tied": dict, "frozen": list}
    for name, kind in parts.items():
        if not isinstance(about.get(name), kind):
            raise CheckpointError(f"{str(path)!r} has no whole entry {name!r}; the file was changed after saving.")
    for name in ("frozen", "absent"):
        if not all(isinstance(entry, str) for entry in about.get(name, ())):
            raise CheckpointError(f"{str(path)!r} has no whole entry {name!r}; the file was changed after saving.")
    if not all(isinstance(name, str) and isinstance(owner, str) for name, owner in about["tied"].items()):
        raise CheckpointError(f"{str(path)!r} has no whole entry 'tied'; the file was changed after saving.")
    return about


def _model_class(name: str) -> type | None:
    """The model class of transformers, or of this package, with that name; None if there is none."""
    import transformers

    home = transformers
    if name.endswith(SUFFIX):
        base = _model_class(name.removesuffix(SUFFIX))
        return None if base is None else class_with_experts(base)
    if name.startswith("MPOBert"):
        from . import mpobert as home
    found = getattr(home, name, None) if name.isidentifier() else None
    is_model = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    return found if is_model else None


def _skeleton(folder: Path, about: dict[str, Any]) -> nn.Module:
    """The dense model of the config, its parameters without numbers, its buffers as its constructor makes them."""
    model_class = _model_class(about["class"])
    if model_class is None:
        raise CheckpointError(
            f"{about['class']!r} in {ABOUT} is no model class of this mpolab, nor of the transformers installed here."
        )
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{str(folder)!r} has no config.json; copy the whole folder again.")
    try:
        config = model_class.config_class.from_pretrained(folder, local_files_only=True)
        return _without(_built(model_class, config, about.get("experts")), about.get("absent", ()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise CheckpointError(f"the config in {str(folder)!r} makes no {about['class']}: {reason}") from problem


def _built(model_class: type, config: Any, experts: dict[str, Any] | None = None) -> nn.Module:
    """experts: how its feed-forward blocks become experts, as `to_moe` takes it; None = not at all."""
    with torch.random.fork_rng(devices=[]), _parameters_on_meta():
        model = model_class(copy.deepcopy(config))
        return model if experts is None else to_moe(model, **experts)


def _without(model: nn.Module, absent: Iterable[str]) -> nn.Module:
    for path in absent:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, None)
    return model


@contextlib.contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Inside, modules are built with parameters on the meta device and with real buffers.

    `torch.device("meta")` would take the buffers as well, and those that no file holds (position numbers, rotary
    frequencies) would be lost.
    """
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:  # one that is tied keeps its identity
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = on_meta
    try:
        yield
    finally:
        nn.Module.register_parameter = register


def _put_layers(model: nn.Module, folder: Path, about: dict[str, Any]) -> None:
    """MPOs without numbers in the places that mpolab.json names."""
    try:
        for path, entry in about["layers"].items():
            layer = _empty(entry)
            for place in [path, *entry["also"]]:
                put_module(model, place, layer)
        for path, entry in about["heads"].items():
            owner = model.get_submodule(entry["owner"])
            bias = nn.Parameter(torch.empty(owner.num_embeddings, device="meta")) if entry["bias"] else None
            tied = MPOTiedEmbedding(owner) if entry["type"] == "embedding" else MPOTiedHead(owner, bias)
            put_module(model, path, tied)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as problem:
        raise CheckpointError(
            f"the entry {path!r} in {str(folder / ABOUT)!r} fits no module of {about['class']} ({problem!r}); the file "
            "was changed after saving, or belongs to another config.json."
        ) from problem
    settle(model)


def _empty(entry: dict[str, Any]) -> MPOLinear | MPOEmbedding:
    plan = Plan(*(tuple(entry[name]) for name in ("rows", "cols", "shape")))
    kind, own = (MPOEmbedding, ["padding_idx"]) if entry["type"] == "embedding" else (MPOLinear, ["bias", "transposed"])
    settings = {name: entry[name] for name in ["mode", "keep_weight", *own]}
    return kind(plan, entry["bonds"], **settings, device="meta")


def _header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """The shapes and the metadata of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}, file.metadata() or {}
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(
            f"{str(path)!r} is no whole safetensors file ({problem}); copy it, or save the model again."
        ) from None


def _fill(model: nn.Module, folder: Path, about: dict[str, Any]) -> None:
    """Numbers for every parameter and stored buffer, ties between plain tensors, and what is frozen."""
    from safetensors import safe_open

    path = folder / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{str(folder)!r} has no {WEIGHTS}; copy the whole folder again.")
    shapes, metadata = _header(path)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict(keep_vars=True).items()}
    _check(expected, shapes, about, path)
    if metadata.get("mpolab", _text(about)) != _text(about):
        raise CheckpointError(
            f"{str(path)!r} and {ABOUT} beside it were not written together; copy the whole folder again."
        )
    trained = {name for name, _ in model.named_parameters()}
    stored: dict[str, torch.Tensor] = {}
    with safe_open(path, framework="pt") as file:
        for name in shapes:
            tensor = file.get_tensor(name)
            stored[name] = nn.Parameter(tensor) if name in trained else tensor
    for name in expected:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, stored[about["tied"].get(name, name)])
    frozen = set(about["frozen"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)


def _check(expected: dict, shapes: dict, about: dict[str, Any], path: Path) -> None:
    """Raises CheckpointError unless the file holds just the tensors that the model needs, in their shapes."""
    needed = [name for name in expected if name not in about["tied"]]
    strange = [name for name in shapes if name not in expected]
    missing = [name for name in needed if name not in shapes]
    without_entry = {name.rpartition(".cores.")[0] for name in strange if ".cores." in name}
    lost = [name for name, owner in about["tied"].items() if owner not in shapes or name not in expected]
    wrong = [name for name in needed if name in shapes and shapes[name] != expected[name]]
    if without_entry - set(about["layers"]):
        layer = sorted(without_entry - set(about["layers"]))[0]
        problem = f"holds the cores of {layer!r}, for which {ABOUT} has no entry"
    elif missing:
        problem = f"lacks {missing[0]!r} ({len(missing)} of {len(needed)} tensors are missing)"
    elif wrong:
        problem = f"has {wrong[0]!r} in shape {shapes[wrong[0]]}, and {about['class']} needs {expected[wrong[0]]}"
    elif strange:
        problem = f"holds {strange[0]!r}, for which {about['class']} has no place"
    elif lost:
        problem = f"lacks {about['tied'][lost[0]]!r}, to which {ABOUT} ties {lost[0]!r}"
    else:
        return
    raise CheckpointError(f"{str(path)!r} {problem}; copy the whole folder again, or save the model again.")
