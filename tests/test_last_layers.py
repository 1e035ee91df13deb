"""MPOP Table 5's rival: only the last layers of a dense model train."""

import pytest
import transformers
from torch import nn

import mpolab
from mpolab.errors import UnknownNameError
from mpolab.mpop import only_last_layers

CONFIGS = {
    "Bert": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3},
    "GPT2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    "DistilBert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64},
}
BEFORE = {"Bert": "bert.embeddings", "GPT2": ("transformer.wte", "transformer.wpe"), "DistilBert": "distilbert.embed"}
LAST = {"Bert": "bert.encoder.layer.2.", "GPT2": "transformer.h.2.", "DistilBert": "distilbert.transformer.layer.2."}
AFTER = {"Bert": ("bert.pooler", "cla"), "GPT2": ("transformer.ln_f", "score"), "DistilBert": ("pre_", "cla")}


def build(name: str) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(vocab_size=60, **CONFIGS[name])
    return getattr(transformers, f"{name}ForSequenceClassification")(config)


@pytest.mark.parametrize("embedding", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_what_trains(name, embedding):
    model = only_last_layers(build(name), 1, embedding)
    for path, parameter in model.named_parameters():
        expected = path.startswith((LAST[name], *AFTER[name])) or (embedding and path.startswith(BEFORE[name]))
        assert parameter.requires_grad is bool(expected), path


def test_more_layers_than_there_are():
    with pytest.raises(UnknownNameError, match="3 numbered"):
        only_last_layers(build("Bert"), 4)


def test_the_package_has_its_files_as_attributes():
    assert mpolab.metrics.squad({"q": "a b"}, [{"id": "q", "answers": {"text": ["a b"]}}])["f1"] == 100
    with pytest.raises(AttributeError, match="no attribute 'metric'"):
        _ = mpolab.metric
