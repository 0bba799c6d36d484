"""Data sets of a hub that answers on this machine: only what is read is downloaded, and read by us."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from dpo_core.preferences.files.hub import HubAddress
from dpo_core.settings import SourceSettings
from tests.support.preference_rows import ROW

COMMITS = {"main": "a" * 40, "old": "b" * 40}


def lines(*prompts: str) -> bytes:
    return "".join(json.dumps({**ROW, "prompt": prompt}) + "\n" for prompt in prompts).encode()


def readme(*configs: str) -> bytes:
    return ("---\nconfigs:\n" + "".join(configs) + "---\n").encode()


HH = {
    "README.md": b"# Pairs of people",
    "helpful-base/train.jsonl.gz": gzip.compress(lines("helpful 1", "helpful 2")),
    "helpful-base/test.jsonl.gz": gzip.compress(lines("helpful 3")),
    "harmless-base/train.jsonl.gz": gzip.compress(lines("harmless 1")),
    "huge.bin": b"never",
    "hh.py": b"raise SystemExit('code of a stranger')",
}
NAMED = {
    "README.md": readme(
        "- config_name: one\n  data_files:\n  - {split: train, path: 'a/*'}\n"
        "  - {split: test, path: b/0.jsonl}\n",
        "- config_name: two\n  data_files: b/*.jsonl\n",
    ),
    "a/0.jsonl": lines("a"),
    "b/0.jsonl": lines("b"),
}
OUTSIDE = {
    "README.md": readme("- config_name: x\n  data_files: 'http://169.254.169.254/x.jsonl'\n"),
    "a.jsonl": lines("a"),
}
REPOSITORIES = {
    ("ann/hh", "main"): HH,
    ("ann/hh", "old"): {"train.jsonl": lines("old")},
    ("ann/named", "main"): NAMED,
    ("ann/outside", "main"): OUTSIDE,
    ("ann/torn", "main"): {"train.jsonl": lines("a") + b"{torn"},
}


class _Hub(BaseHTTPRequestHandler):
    """Answers what the client asks of a hub: the list of files, and a file."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            repository, what, rest = "/".join(parts[2:4]), parts[4:5], parts[5:]
            revision = rest[0] if rest else "main"
        else:
            repository, what, rest = "/".join(parts[1:3]), ["resolve"], parts[3:]
            revision = rest[1]
        revision = {commit: name for name, commit in COMMITS.items()}.get(revision, revision)
        files = REPOSITORIES.get((repository, revision))
        if files is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif what == ["tree"]:
            self._send_json([_entry(name, content) for name, content in files.items()])
        elif what == ["resolve"]:
            content = files["/".join(rest[2:])]
            headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMITS[revision]}
            self._send(200, content, headers)
        else:
            names = [{"rfilename": name} for name in files]
            self._send_json(
                {"_id": "1", "id": repository, "sha": COMMITS[revision], "siblings": names}
                | {"private": False, "downloads": 0, "likes": 0, "tags": []}
            )

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class Hub:
    """A hub on this machine, and a program that reads data sets of it."""

    def __init__(self, url: str, cache: Path, asked: list[str]) -> None:
        self.url, self.cache, self.asked = url, cache, asked

    def read(self, *sources: dict[str, Any], offline: bool = False) -> list[Any]:
        """What each source gives: the prompts of its pairs, or the message of its error."""
        code = (
            "import json, sys\n"
            "from dpo_core.errors import DataError\n"
            "from dpo_core.preferences import load_data\n"
            "from dpo_core.settings import SourceSettings\n"
            "def read(keys):\n"
            "    try: return [p.prompt for p in load_data([SourceSettings(**keys)]).pairs]\n"
            "    except DataError as error: return str(error)\n"
            "print(json.dumps([read(keys) for keys in json.loads(sys.argv[1])]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(sources)],
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(sys.path), "HF_ENDPOINT": self.url}
            | {"HF_HOME": str(self.cache), "HF_HUB_OFFLINE": str(int(offline)), "HF_TOKEN": ""}
            | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
        return answers

    def downloaded(self) -> list[str]:
        """The files that were downloaded since this was last called."""
        asked = sorted(
            {path.split("/resolve/")[1][41:] for path in self.asked if "GET /datasets" in path}
        )
        self.asked.clear()
        return asked


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    handler = type("Handler", (_Hub,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Hub(f"http://127.0.0.1:{server.server_port}", tmp_path / "cache", handler.asked)  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def test_only_what_is_read_is_downloaded_and_then_read_offline(hub: Hub) -> None:
    one: dict[str, Any] = {"path": "hf://ann/hh", "subset": "helpful-base"}
    every: dict[str, Any] = {"path": "hf://ann/hh"}
    old = {"path": "hf://datasets/ann/hh", "revision": "old"}
    file = {"path": "hf://datasets/ann/hh@main/helpful-base/test.jsonl.gz"}
    assert hub.read(one, every) == [
        ["helpful 1", "helpful 2"],
        "hf://ann/hh: holds several data sets (harmless-base, helpful-base), which are not read as one; "
        "set `subset` to one of them, give each an entry of `data.sources`, or name the files to read "
        "together by `data_files`",
    ]
    assert hub.downloaded() == ["README.md", "helpful-base/train.jsonl.gz"]
    assert hub.read({**one, "limit": 1}, one, old, file) == [
        ["helpful 1"],
        ["helpful 1", "helpful 2"],
        ["old"],
        ["helpful 3"],
    ]
    assert hub.downloaded() == ["helpful-base/test.jsonl.gz", "train.jsonl"]
    test = {**one, "split": "test"}
    assert hub.read(one, test, old, offline=True)[:1] == [["helpful 1", "helpful 2"]]
    assert hub.asked == []


def test_data_sets_that_a_readme_names_and_what_goes_wrong(hub: Hub) -> None:
    named = {"path": "hf://ann/named"}
    answers = hub.read(
        {**named, "subset": "one"},
        {**named, "subset": "one", "split": "test"},
        {**named, "subset": "two"},
        {"path": "hf://ann/outside"},
        {"path": "hf://ann/gone"},
        {"path": "hf://ann/torn"},
        {"path": "hf://ann"},
    )
    assert answers[:3] == [["a"], ["b"], ["b"]]
    outside, gone, torn, no_address = answers[3:]
    assert "README.md: names 'http://169.254.169.254/x.jsonl', which is no file of this" in outside
    assert gone.startswith(
        "hf://ann/gone: the Hugging Face hub did not give it (RepositoryNotFound"
    )
    assert "\n" not in gone
    assert torn.startswith("hf://ann/torn/train.jsonl:2: invalid JSON")
    assert no_address.startswith("hf://ann: is no data set of the hub; write hf://owner/name")


def test_a_hub_that_is_not_asked_and_has_left_nothing_here(hub: Hub) -> None:
    [message] = hub.read({"path": "hf://ann/hh"}, offline=True)
    assert message.startswith("hf://ann/hh: the Hugging Face hub did not give it (")
    assert message.endswith("; check the spelling, sign in or go online, or give a local file")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("path", "keys", "address"),
    [
        ("hf://a/b", {}, HubAddress("a/b", None, None)),
        ("hf://datasets/a/b-c.d", {"revision": "x/y"}, HubAddress("a/b-c.d", "x/y", None)),
        ("hf://a/b@v1/c/*.jsonl", {}, HubAddress("a/b", "v1", "c/*.jsonl")),
        ("hf://a/b@~parquet", {}, HubAddress("a/b", "refs/convert/parquet", None)),
    ],
)
def test_addresses(path: str, keys: dict[str, Any], address: HubAddress) -> None:
    assert HubAddress.of(SourceSettings(path=path, **keys)) == address
