"""A model repository may ship code. It runs only where the config says so, and is warned of."""

from __future__ import annotations

import ast
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import save_file

from dpo_core import model_code
from dpo_core.errors import DataError, ModelError
from dpo_core.models.load import load_model, load_tokenizer
from dpo_core.settings import ModelSettings
from sweeps.cli.app import app
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.config.strict_yaml import dump_yaml, load_yaml
from sweeps.prepare.memory_estimate import model_size
from sweeps.ray_runtime.remote_call import CallInTask
from sweeps.run_dir.paths import SweepPaths
from sweeps.sweep import run_sweep
from tests.support.in_process import command
from tests.support.repository import FILES, name_of
from tests.support.sweeps_without_ray import sweep_yaml, without_ray

CODE = """
from pathlib import Path
from transformers import PretrainedConfig

Path({canary!r}).touch()


class Strange(PretrainedConfig):
    model_type = "strange"
"""


@pytest.fixture(autouse=True)
def _new_process() -> Iterator[None]:
    """Each process warns once, and loads a model's code once."""
    model_code._warn.cache_clear()
    yield
    model_code._warn.cache_clear()


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that exists once the model's code has run."""
    return tmp_path / "canary"


@pytest.fixture
def model(tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    folder = tmp_path / "strange_model"
    folder.mkdir()
    (folder / "strange.py").write_text(CODE.format(canary=str(canary)))
    config = {"model_type": "strange", "auto_map": {"AutoConfig": "strange.Strange"}}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("load", [load_model, load_tokenizer, model_size])
def test_code_of_a_model_does_not_run(load, model: Path, canary: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(ModelSettings(path=str(model)))
    assert not canary.exists()


def test_where_the_config_says_so_it_does(model: Path, canary: Path) -> None:
    """Or the tests above would pass whatever they do."""
    with pytest.raises(ModelError):  # the config loads, and no model has it
        load_model(ModelSettings(path=str(model), trust_remote_code=True))
    assert canary.exists()


@pytest.mark.parametrize("trusted", [True, False])
def test_a_sweep_warns_before_it_does_anything(
    tmp_path: Path, messages: list[str], trusted: bool
) -> None:
    with pytest.raises(DataError):  # the pairs are missing, which is found out next
        run_sweep(_config(trusted), SweepPaths.of_folder(str(tmp_path / "s")), None)
    assert [line.startswith("model.trust_remote_code: ") for line in messages] == (
        [True] if trusted else []
    )


def test_a_call_on_a_worker_warns_of_the_model_and_of_the_incumbent(
    monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    """As `select --write` makes it, where anything is left to be done."""

    def stop() -> None:
        raise InterruptedError

    monkeypatch.setattr("sweeps.ray_runtime.remote_call.remove_leftover_groups", stop)
    with pytest.raises(InterruptedError):
        CallInTask(_config(True, "selection: {incumbent: /models/now}"))(len, "")
    of_model, of_incumbent = messages
    assert "strange/model, whatever its newest revision" in of_model
    assert "/models/now runs" in of_incumbent


def _config(trusted: bool, more: str = "") -> SweepConfig:
    text = f"""
name: strange
model: {{path: strange/model, trust_remote_code: {str(trusted).lower()}}}
data: {{path: nowhere.jsonl}}
space: lora
training: {{max_steps: 4}}
{more}
"""
    return parse_sweep(text, source="sweep.yaml")


# Every command, on a model that ships code

OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

with open({events!r}, "a") as events:
    events.write("ran\\n")


class OwnConfig(LlamaConfig):
    pass


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""
RUN, REVISION = "runs/ended", "v7"
COMMANDS = {
    "validate": ("validate", "sweep.yaml"),
    "plan": ("plan", "sweep.yaml"),
    "audit": ("audit", "sweep.yaml"),
    "preview": ("preview", "sweep.yaml"),
    "run": ("run", "sweep.yaml"),
    "resume": ("resume", RUN),
    "nightly": ("nightly", "sweep.yaml", "--date", "2026-01-02"),
    "select": ("select", RUN),
    "select --write": ("select", RUN, "--write"),
    "report": ("report", RUN),
    "best": ("best", RUN),
    "export": ("export", RUN, "copy", "--even-if-not-better"),
    "submit": ("submit", "sweep.yaml", "--address", "http://127.0.0.1:9"),
}
"""What is made up here, as the export of `select --write`, loads no model."""
WITHOUT_MODEL = {"demo", "clean", "status", "logs", "stop", "list"}  # the demo's has no code
ELSEWHERE = {"submit"}  # it runs on the cluster


@pytest.fixture(scope="module")
def ended(
    toy_model: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder with a sweep of a model that ships code, which has ended."""
    folder = tmp_path_factory.mktemp("own code")
    model = folder / "model"
    shutil.copytree(toy_model, model)
    (model / "own.py").write_text(OWN_CODE.format(events=str(folder / "events")))
    config = json.loads((model / "config.json").read_text())
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (model / "config.json").write_text(json.dumps({**config, "auto_map": auto_map}))
    tree = load_yaml(sweep_yaml(folder / "runs", model, pairs_file), source="sweep.yaml")
    tree["model"] |= {"trust_remote_code": True, "revision": REVISION}
    (folder / "sweep.yaml").write_text(dump_yaml(tree))
    with pytest.MonkeyPatch.context() as patch:
        modules = "transformers.dynamic_module_utils.HF_MODULES_CACHE"
        patch.setattr(modules, str(folder / "modules"))
        patch.chdir(folder)
        with without_ray():
            assert command("run", "sweep.yaml", "--id", "ended").returncode == 0
            yield folder


class Events(logging.Handler):
    """Writes "warned" to the file to which the model's code writes "ran"."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def emit(self, record: logging.LogRecord) -> None:
        if "trust_remote_code" in record.getMessage():
            assert "own code" in record.getMessage(), "it names the model"
            assert REVISION in record.getMessage()
            with self.file.open("a") as events:
                events.write("warned\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_warns_before_it_runs_code_of_a_model_and_not_otherwise(
    ended: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Events(ended / "events")
    handler.file.write_text("")
    monkeypatch.setattr("sweeps.cli.app.TerminalHandler", lambda: handler)
    for module in [each for each in sys.modules if each.startswith("transformers_modules.")]:
        monkeypatch.delitem(sys.modules, module)
    done = command(*COMMANDS[name])
    assert done.returncode == (2 if name in ELSEWHERE else 0), done.stderr
    events = handler.file.read_text().split()
    assert events[:1] in ([], ["warned"])
    assert events.count("warned") == ("ran" in events or name in ELSEWHERE)


def test_every_command_is_tried() -> None:
    names = set(typer.main.get_command(app).commands)
    assert names - WITHOUT_MODEL == {arguments[0] for arguments in COMMANDS.values()}


def test_every_load_asks_whether_code_may_run() -> None:
    texts = {name_of(file): file.read_text("utf-8") for file in FILES}
    for name in [name for name, text in texts.items() if "trust_remote_code=" in text]:
        for node in ast.walk(ast.parse(texts[name])):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert ast.unparse(node.value).startswith("may_run_code("), name
