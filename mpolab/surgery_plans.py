"""Which modules of a model become MPOs: rules, and ready ones for the model families of the papers.

A plan is a list of rules; a rule names modules by the end of their path and says how their matrices are factorized and
cut. The first rule that matches a module counts. `FAMILIES` is the table of ready plans: a new family is one entry.
Notebook 02, "Lightweight fine-tuning", shows what the rules do to the parameter count.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import nn

from .errors import BondError, PlanError, unknown
from .matrices import role
from .plans import Plan, make_plan

EMBEDDING, ATTENTION, FFN, POOLER = "word embedding", "attention", "FFN", "pooler"
HEAD, OTHER = "head", "other"
REPORT_KINDS = (EMBEDDING, ATTENTION, FFN, POOLER, HEAD, OTHER)
KIND_NAMES = {kind.lower(): kind for kind in REPORT_KINDS} | {"embedding": EMBEDDING, "embeddings": EMBEDDING}

# Model family (its config's model_type) -> kind of matrix -> the end of a module's path, as a regular expression.
# Left alone everywhere: heads, position and token-type embeddings, LayerNorms, ALBERT's and MobileBERT's projections
# between the embedding's and the layers' width. MPOP's appendix factorizes the word embedding, attention, FFN, pooler.
FAMILIES: dict[str, dict[str, str]] = {
    "albert": {
        EMBEDDING: r"word_embeddings",
        ATTENTION: r"attention\.(query|key|value|dense)",
        FFN: r"albert_layers\.\d+\.(ffn|ffn_output)",
        POOLER: r"pooler",
    },
    "bert": {
        EMBEDDING: r"word_embeddings",
        ATTENTION: r"(cross)?attention\.(self\.(query|key|value)|output\.dense)",
        FFN: r"layer\.\d+\.(intermediate|output)\.dense",
        POOLER: r"pooler\.dense",
    },
    "distilbert": {
        EMBEDDING: r"word_embeddings",
        ATTENTION: r"attention\.(q|k|v|out)_lin",
        FFN: r"ffn\.lin[12]",
    },
    "mobilebert": {  # four small FFNs in each layer: three in `ffn`, one in the layer itself
        EMBEDDING: r"word_embeddings",
        ATTENTION: r"attention\.(self\.(query|key|value)|output\.dense)",
        FFN: r"(layer|ffn)\.\d+\.(intermediate|output)\.dense",
        POOLER: r"pooler\.dense",
    },
    "gpt2": {  # Conv1D: query, key and value side by side in one matrix
        EMBEDDING: r"wte",
        ATTENTION: r"(attn|crossattention)\.(c_attn|q_attn|c_proj)",
        FFN: r"mlp\.(c_fc|c_proj)",
    },
    "t5": {  # a gated layer has wi_0 and wi_1 in wi's place
        EMBEDDING: r"shared|embed_tokens",
        ATTENTION: r"(SelfAttention|EncDecAttention)\.[qkvo]",
        FFN: r"DenseReluDense\.(wi|wi_0|wi_1|wo)",
    },
}
FAMILIES["roberta"] = FAMILIES["xlm-roberta"] = FAMILIES["bert"]
FAMILIES["mt5"] = FAMILIES["t5"]

# Ready plan -> the kinds it converts, and the style of their factors (`plans.STYLES`).
READY: dict[str, tuple[tuple[str, ...], str]] = {
    "mpop": ((EMBEDDING, ATTENTION, FFN, POOLER), "mpop"),  # MPOP's appendix, "balanced"
    "mpobert": ((ATTENTION, FFN), "mpobert"),  # the six matrices of a layer; embeddings, pooler and head stay dense
}
# The released settings behind MPOP's "1.1 M" for ALBERT (1.110 M trained, 10.59 M in all), as far as the counts tell:
# attention in MPOBERT's factors, its output and the pooler uncut. "mpop" with the same caps has 1.084 M and 10.90 M,
# because in the appendix's factors no bond of attention is above 192, so 208 cuts nothing. A plan for `to_mpo`.
MPOP_RELEASED: dict[str, dict] = {
    r"word_embeddings": {"bond": 385},
    r"attention\.(query|key|value)": {"bond": 208, "style": "mpobert"},
    r"attention\.dense|pooler": {"style": "mpobert"},
    r"ffn|ffn_output": {"bond": 308, "style": "mpop"},
}
GENERIC = "linear"
"""The plan for any model: all its nn.Linear and Conv1D but the heads."""

# Kinds of `matrices.KINDS` -> kinds of the report.
ROLE_KINDS = {
    "word embedding": EMBEDDING,
    "query": ATTENTION,
    "key": ATTENTION,
    "value": ATTENTION,
    "query+key+value": ATTENTION,
    "key+value": ATTENTION,
    "attention output": ATTENTION,
    "FFN in": FFN,
    "FFN out": FFN,
    "pooler": POOLER,
}
HEAD_NAMES = r"(?:^|\.)(?:lm_head|cls|classifier|pre_classifier|classification_head|qa_outputs|score|heads?)(?:\.|$)"


@dataclass(frozen=True)
class Rule:
    """One line of a plan.

    pattern: a regular expression for the end of a module's path, from a dot (or the beginning) on: "query" finds
        "encoder.layer.0.attention.self.query" but no "keyquery"; `.*` in front reaches any part of the path.
    kind: one of `REPORT_KINDS`, for caps per kind; by default read from the module's name.
    rows, cols, n, style: the factors, as in `plans.make_plan`. bond | ratio | error: the cut, as in `MPO.decompose`.
        What a rule leaves out, the arguments of `to_mpo` decide.
    required: whether it is an error if the model has no such module.
    """

    pattern: str
    kind: str | None = None
    rows: Sequence[int] | None = None
    cols: Sequence[int] | None = None
    bond: int | Sequence[int] | None = None
    ratio: float | None = None
    error: float | None = None
    n: int | None = None
    style: str | None = None
    required: bool = True

    def matches(self, path: str) -> bool:
        return re.search(rf"(?:^|\.)(?:{self.pattern})$", path) is not None


SETTINGS = tuple(f.name for f in fields(Rule) if f.name not in ("pattern", "required"))


def rules_of(plan: str | Mapping | Iterable[Rule], model: nn.Module) -> list[Rule]:
    """The rules that a plan means for this model: of a ready plan's name, a dict pattern -> settings, or a list.

    Raises PlanError for a family without a ready plan, a pattern that is no regular expression, a setting that no rule
    has; UnknownNameError for a plan's name that does not exist.
    """
    if isinstance(plan, str):
        return _ready_rules(plan, model)
    if isinstance(plan, Rule):
        plan = [plan]
    if isinstance(plan, Mapping):
        plan = [_rule_from(pattern, settings) for pattern, settings in plan.items()]
    rules = list(plan) if isinstance(plan, Iterable) else []
    if not rules or not all(isinstance(rule, Rule) for rule in rules):
        raise PlanError(
            f"plan = {plan!r}: expected {', '.join(map(repr, [*READY, GENERIC]))}, a dict such as "
            "{'query': {'bond': 64}}, or a list of Rule; with at least one entry."
        )
    for rule in rules:
        try:
            re.compile(rule.pattern)
        except (re.error, TypeError) as problem:
            raise PlanError(
                f"plan entry {rule.pattern!r} is no regular expression ({problem}); write the end of a module's path, "
                r"for example 'query' or r'layer\.\d+\.output\.dense'."
            ) from None
    return rules


def _rule_from(pattern: object, settings: object) -> Rule:
    """One entry of a dict plan."""
    if isinstance(settings, Rule):
        return replace(settings, pattern=pattern)
    if not isinstance(settings, Mapping):
        raise PlanError(
            f"plan entry {pattern!r}: {settings!r} should be a dict with some of {', '.join(SETTINGS)}, for example "
            f"{{{pattern!r}: {{'bond': 64}}}}, or an empty one."
        )
    for name in settings:
        if name not in SETTINGS:
            raise PlanError(str(unknown(f"setting in plan entry {pattern!r}:", name, SETTINGS)))
    kind = settings.get("kind")
    if kind is not None and str(kind).lower() not in KIND_NAMES:
        raise PlanError(str(unknown(f"kind of matrix in plan entry {pattern!r}:", kind, KIND_NAMES)))
    if kind is not None:
        settings = {**settings, "kind": KIND_NAMES[str(kind).lower()]}
    return Rule(pattern, **settings)


def _ready_rules(name: str, model: nn.Module) -> list[Rule]:
    if name == GENERIC:
        return _linear_rules(model)
    if name not in READY:
        raise unknown("plan", name, [*READY, GENERIC])
    kinds, style = READY[name]
    found = families_of(model)
    if not found:
        kind = getattr(getattr(model, "config", None), "model_type", None)
        raise PlanError(
            f"there is no ready plan {name!r} for {type(model).__name__}"
            f"{f' (model type {kind!r})' if kind else ''}: the table has {', '.join(FAMILIES)}. Use "
            f"plan={GENERIC!r}, which converts every linear layer but the heads, or a dict such as "
            "{'query': {'bond': 64}}."
        )
    return [
        Rule(FAMILIES[family][kind], kind=kind, style=style, required=False)
        for family in found
        for kind in kinds
        if kind in FAMILIES[family]
    ]


def families_of(model: nn.Module) -> list[str]:
    """The families of the table that occur in a model or (an encoder-decoder of two, a wrapper) in its parts."""
    configs = (getattr(module, "config", None) for module in model.modules())
    types = dict.fromkeys(getattr(config, "model_type", None) for config in configs)
    return [name for name in types if name in FAMILIES]


def _linear_rules(model: nn.Module) -> list[Rule]:
    """Every linear layer outside the heads, whose sides have at least as many entries as the papers' five cores."""
    paths = [
        path
        for path, module in matrix_modules(model).items()
        if not isinstance(module, nn.Embedding) and not is_head(model, path) and min(module.weight.shape) >= 5
    ]
    return [Rule("|".join(map(re.escape, paths)), required=False)] if paths else []


# -- the modules of a model ------------------------------------------------------------------------


def conv1d_class() -> type | tuple:
    """transformers' Conv1D, or () where no module can be one because its file was never loaded."""
    return getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", ())


def is_conv1d(module: nn.Module) -> bool:
    """Whether it is GPT-2's kind of linear layer, with its weight stored (in, out)."""
    conv1d = conv1d_class()
    return bool(conv1d) and isinstance(module, conv1d)


def matrix_modules(model: nn.Module) -> dict[str, nn.Module]:
    """All nn.Linear, Conv1D and nn.Embedding of a model by path, each once, in the model's order.

    A subclass with a forward of its own (an embedding that scales, a quantized layer) is something else and left out.
    """
    found = {}
    for path, module in model.named_modules():
        kinds = (nn.Linear, nn.Embedding, *([conv1d_class()] if conv1d_class() else []))
        base = next((kind for kind in kinds if isinstance(module, kind)), None)
        if base is not None and type(module).forward is base.forward and module.weight.dim() == 2:
            found[path] = module
    return found


def kind_of(model: nn.Module, path: str) -> str:
    """The report's kind of the module at `path`, read from its name and place."""
    if is_head(model, path):
        return HEAD
    return ROLE_KINDS.get(role(path)[0], OTHER)


def is_head(model: nn.Module, path: str) -> bool:
    """Whether a module belongs to a task head: outside the model's base, or of a name that only heads have."""
    prefix = getattr(model, "base_model_prefix", "")
    if prefix and isinstance(getattr(model, prefix, None), nn.Module):
        return path != prefix and not path.startswith(f"{prefix}.")
    return re.search(HEAD_NAMES, path) is not None


# -- matching --------------------------------------------------------------------------------------


def match(rules: Sequence[Rule], modules: Mapping[str, nn.Module], everything: Iterable[str] = ()) -> dict[str, Rule]:
    """path -> the first rule that matches it, in the model's order.

    modules: `matrix_modules(model)`. everything: the paths of all modules, to tell a name that is not there from one
    that is no matrix. Raises PlanError for a required rule that matches nothing, or if none matches.
    """
    found: dict[str, Rule] = {}
    for path in modules:
        rule = next((rule for rule in rules if rule.matches(path)), None)
        if rule is not None:
            found[path] = rule
    for rule in rules:
        if rule.required and not any(map(rule.matches, modules)):
            raise PlanError(_no_match(rule.pattern, modules, everything))
    if not found:
        raise PlanError(_no_match(" | ".join(rule.pattern for rule in rules), modules, everything))
    return found


NOTHING = "the plan chooses no matrix of this model."


def _no_match(pattern: str, modules: Mapping[str, nn.Module], everything: Iterable[str]) -> str:
    """The message for a pattern without a module: the nearest there are, or what it does match."""
    message = f"the plan entry {pattern!r} matches no matrix of this model." if pattern else NOTHING
    rule = Rule(pattern)
    others = [path for path in everything if path and path not in modules and rule.matches(path)]
    if others:
        message += f" It matches {others[0]!r}, which is no Linear, Conv1D or Embedding layer (or an MPO already)."
    if modules:
        return f"{message} Nearest: {', '.join(map(repr, nearest(pattern, modules)))}."
    return f"{message} It has no Linear, Conv1D or Embedding layer left."


def nearest(pattern: str, paths: Iterable[str], count: int = 3) -> list[str]:
    """The paths whose end looks most like `pattern`, with layer numbers written as N, the nearest first."""
    shapes = list(dict.fromkeys(re.sub(r"\d+", "N", path) for path in paths))

    def likeness(shape: str) -> float:
        parts = shape.split(".")
        ends = [".".join(parts[start:]) for start in range(len(parts))]
        return max(difflib.SequenceMatcher(None, pattern.lower(), end.lower()).ratio() for end in ends)

    return sorted(shapes, key=likeness, reverse=True)[:count]


# -- what is to be replaced ------------------------------------------------------------------------


@dataclass
class Site:
    """One matrix of the model, with every module that uses it.

    path, module: the owner's, whose matrix is decomposed. twins: further (path, module) with the same weight.
    """

    path: str
    module: nn.Module
    rule: Rule
    kind: str
    twins: list[tuple[str, nn.Module]] = field(default_factory=list)

    @property
    def weight(self) -> torch.Tensor:
        """(out, in), detached."""
        weight = self.module.weight.detach()
        return weight.T if is_conv1d(self.module) else weight

    def plan(self, n: int) -> Plan:
        rule = self.rule
        return make_plan(
            tuple(self.weight.shape), rule.n or n, rule.rows, rule.cols, "mpobert" if rule.style is None else rule.style
        )


def sites(model: nn.Module, plan: str | Mapping | Iterable[Rule]) -> list[Site]:
    """The matrices that a plan chooses, each once however many modules share it. Raises PlanError."""
    modules = matrix_modules(model)
    everything = [path for path, _ in model.named_modules()]
    chosen = match(rules_of(plan, model), modules, everything)
    if "" in chosen:
        raise PlanError(
            f"the model is itself a {type(model).__name__} and cannot be replaced in place; use "
            "MPOLinear.from_linear or MPOEmbedding.from_embedding on it."
        )
    families: dict[int, list[tuple[str, nn.Module]]] = {}
    for path, module in modules.items():
        families.setdefault(id(module.weight), []).append((path, module))
    found: dict[int, Site] = {}
    for path, rule in chosen.items():
        weight = id(modules[path].weight)
        if weight in found:
            continue
        family = families[weight]
        # An embedding owns what it shares with a head, wherever it stands in the model.
        owner = next((one for one in family if isinstance(one[1], nn.Embedding)), family[0])
        twins = [one for one in family if one is not owner]
        found[weight] = Site(*owner, rule, rule.kind or kind_of(model, owner[0]), twins)
        _check_twins(found[weight])
    return list(found.values())


def _check_twins(site: Site) -> None:
    """Raises PlanError where a tie cannot be kept."""
    for path, module in site.twins:
        reason = None
        if isinstance(site.module, nn.Embedding):
            if is_conv1d(module):
                reason = "a Conv1D keeps its weight transposed"
            elif isinstance(module, nn.Embedding) and module.padding_idx != site.module.padding_idx:
                reason = f"their padding rows differ ({site.module.padding_idx} and {module.padding_idx})"
        elif type(module) is not type(site.module):
            reason = "they are layers of different kinds"
        elif module.bias is not site.module.bias:
            reason = "they share the weight but not the bias"
        if reason:
            raise PlanError(
                f"{site.path!r} and {path!r} share one weight, and the tie cannot be kept: {reason}. Leave both out of "
                "the plan, or untie them first by giving one of them a copy of the weight."
            )


# -- settings --------------------------------------------------------------------------------------


def request(site: Site, defaults: dict[str, object]) -> dict[str, object]:
    """{"bond": ...} or {"ratio": ...} or {"error": ...} or {}: the rule's own, else the arguments of `to_mpo`."""
    own = {name: getattr(site.rule, name) for name in defaults if getattr(site.rule, name) is not None}
    if len(own) > 1:
        raise BondError(f"the plan entry {site.rule.pattern!r} has {' and '.join(own)}; give one, it decides the rest.")
    if own:
        return own
    found = {name: _for_kind(name, value, site.kind) for name, value in defaults.items()}
    return {name: value for name, value in found.items() if value is not None}


def _for_kind(name: str, value: object, kind: str) -> object:
    """A setting for one kind of matrix: a dict names kinds (a pooler without an entry counts as attention)."""
    if not isinstance(value, Mapping):
        return value
    named = {}
    for key, entry in value.items():
        if str(key).lower() not in KIND_NAMES:
            raise unknown(f"kind of matrix in {name}=", key, dict.fromkeys(["embedding", *REPORT_KINDS]))
        named[KIND_NAMES[str(key).lower()]] = entry
    return named.get(kind, named.get(ATTENTION) if kind == POOLER else None)


def check_kinds(chosen: Sequence[Site], defaults: dict[str, object]) -> None:
    """Raises BondError for a setting by kind that reaches none of the chosen matrices."""
    there = {site.kind for site in chosen}
    there |= {ATTENTION} & {ATTENTION if kind == POOLER else kind for kind in there}
    for name, value in defaults.items():
        for key in value if isinstance(value, Mapping) else ():
            kind = KIND_NAMES.get(str(key).lower())
            if kind is not None and kind not in there:
                raise BondError(
                    f"{name}={{{key!r}: ...}} reaches no matrix: those of the plan are of the kinds "
                    f"{', '.join(sorted(there))}."
                )


def one_of(defaults: dict[str, object]) -> None:
    given = [name for name, value in defaults.items() if value is not None]
    if len(given) > 1:
        raise BondError(f"{' and '.join(f'{name}=' for name in given)} were given; give one, it decides the others.")
