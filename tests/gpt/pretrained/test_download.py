"""Fetching GPT-2's files, from a server of our own that breaks off, repeats, refuses and lies."""

import hashlib
import http.server
import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpt.__main__ import main
from gpt.pretrained import download
from gpt.pretrained.download import FILES, LOCK, check_address, check_files, fetch, instructions

CONTENT = {name: bytes(range(256)) * (4 * i + 1) for i, name in enumerate(FILES)}
ETAG = '"of-today"'


class Server(http.server.ThreadingHTTPServer):
    """Serve CONTENT; what it does to model.safetensors is set by the test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut_after: int | None = None  # bytes, after which each answer breaks off
        self.ranges = True
        self.length = True
        self.etag = ETAG
        self.announced: int | None = None  # bytes, instead of the true length
        self.drip = False  # a byte at a time
        self.type = "application/octet-stream"
        self.redirect = ""  # an address
        self.status: dict[str, int] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.hub = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        name, asked = self.path.rpartition("/")[2], self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        content = CONTENT[name]
        if self.server.redirect:
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        if name in self.server.status:
            self.send_error(self.server.status[name])
            return
        begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0  # type: ignore[index]
        if self.headers.get("If-Range", self.server.etag) != self.server.etag:
            begin = 0
        if begin and begin >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = content[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        if self.server.length:
            self.send_header("Content-Length", str(self.server.announced or len(body)))
        self.send_header("Content-Type", self.server.type)
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.end_headers()
        for byte in body if self.server.drip else b"":
            time.sleep(0.005)
            self.wfile.write(bytes([byte]))
        self.wfile.write(body if self.server.cut_after is None else body[: self.server.cut_after])


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def complete(folder: Path) -> bool:
    recorded = json.loads((folder / LOCK).read_bytes())
    assert recorded == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in CONTENT.items()
    }
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK} == CONTENT


def keep(folder: Path, name: str, content: bytes, etag: str = ETAG) -> None:
    """Write what an interrupted download leaves."""
    (folder / f".{name}.part").write_bytes(content)
    (folder / f".{name}.part.etag").write_text(etag, encoding="utf-8")


def test_four_files_come(server: Server, tmp_path: Path) -> None:
    out = io.StringIO()
    fetch("gpt2", tmp_path / "gpt2", hub=server.hub, out=out)
    assert complete(tmp_path / "gpt2")
    assert [path for path, _ in server.requests] == [f"/openai-community/gpt2/resolve/main/{name}" for name in FILES]
    assert out.getvalue().count("\n") == 4 + 4  # what came, and what was recorded
    assert f"SHA-256 {hashlib.sha256(CONTENT['config.json']).hexdigest()}, recorded in" in out.getvalue()
    assert "model.safetensors" in out.getvalue()
    fetch("gpt2", tmp_path / "gpt2", hub=server.hub, out=out)
    assert len(server.requests) == 4  # what is there is not fetched again


def test_an_answer_that_breaks_off_is_taken_up_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.cut_after = 1500
    fetch("gpt2-xl", tmp_path, hub=server.hub, out=io.StringIO())
    assert complete(tmp_path)
    assert [asked for path, asked in server.requests if path.endswith("model.safetensors")] == [
        None,
        "bytes=1500-",
        "bytes=3000-",
    ]


def test_a_server_that_knows_no_ranges_sends_the_whole_again(server: Server, tmp_path: Path) -> None:
    keep(tmp_path, "model.safetensors", b"of an earlier day")
    server.ranges = False
    fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert complete(tmp_path)


def test_a_part_that_is_whole_or_too_long(server: Server, tmp_path: Path) -> None:
    keep(tmp_path, "merges.txt", CONTENT["merges.txt"])  # killed before it got its name
    keep(tmp_path, "model.safetensors", bytes(10_000))
    fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert complete(tmp_path)


def test_a_server_that_brings_nothing_is_given_up(server: Server, tmp_path: Path) -> None:
    server.cut_after = 0
    with pytest.raises(
        OSError, match=r"config.json: cut off at 0 of 256 bytes; the bytes received are kept; the same command"
    ):
        fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert len(server.requests) == download.ATTEMPTS
    assert not (tmp_path / "config.json").exists()


def test_what_is_not_found_is_said_with_its_address(server: Server, tmp_path: Path) -> None:
    server.status["merges.txt"] = 404
    with pytest.raises(
        OSError, match=r"resolve/main/merges.txt: the server says 404 Not Found; is the address still right"
    ):
        fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", LOCK, "vocab.json"]
    server.status["merges.txt"] = 503
    with pytest.raises(OSError, match=r"merges.txt: HTTP Error 503"):
        fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())


def test_a_file_of_unknown_length_is_refused(server: Server, tmp_path: Path) -> None:
    server.length = False
    with pytest.raises(OSError, match="does not say how long the file is"):
        fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("etag", ['"of-yesterday"', "", 'W/"of-today"'])
def test_a_part_of_another_version_is_not_continued(server: Server, tmp_path: Path, etag: str) -> None:
    keep(tmp_path, "model.safetensors", b"x" * 100, etag)
    fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert complete(tmp_path)


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_etag_a_download_begins_again(server: Server, tmp_path: Path, etag: str) -> None:
    server.etag, server.cut_after = etag, 1500
    with pytest.raises(OSError, match=r"model\.safetensors: cut off at|merges\.txt: cut off at"):
        fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert {asked for _, asked in server.requests} == {None}
    server.cut_after = None
    fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert complete(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_has_changed_since_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    content = bytearray(CONTENT[name])
    content[7] ^= 1
    (tmp_path / name).write_bytes(content)
    message = f"{name} is not the file of the first download, {len(content):,} bytes with SHA-256"
    for check in (check_files, lambda folder: fetch("gpt2", folder, hub=server.hub, out=io.StringIO())):
        with pytest.raises(ValueError, match=message):
            check(tmp_path)
    (tmp_path / name).unlink()
    fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert complete(tmp_path)


def test_import_checks_the_files_of_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gpt2").mkdir()
    Path("gpt2", "model.safetensors").write_bytes(b"damaged")
    Path("gpt2", LOCK).write_text(json.dumps({"model.safetensors": {"bytes": 7, "sha256": "0"}}), encoding="utf-8")
    for path in ("gpt2", "gpt2/model.safetensors"):
        assert main(["import", path]) == 1
        assert "is not the file of the first download" in capsys.readouterr().err
    Path("gpt2", LOCK).write_text("{", encoding="utf-8")
    assert main(["import", "gpt2"]) == 1
    assert f"{LOCK} is damaged; delete it" in capsys.readouterr().err


def test_a_web_page_is_no_file(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.type = "text/html; charset=utf-8"
    with pytest.raises(OSError, match=r"config\.json: the server sends a web page instead of the file"):
        fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    server.type = "application/json"
    for page in (b"<!DOCTYPE html><p>log in", b"\n <HTML>"):
        monkeypatch.setitem(CONTENT, "config.json", page)
        with pytest.raises(OSError, match=r"config\.json: the server sends a web page instead of the file"):
            fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert not (tmp_path / "config.json").exists()
    assert len(server.requests) == 3  # asking again would bring the same


@pytest.mark.parametrize(
    "address", ["http://example.com/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://127.0.0.1:1/x"]
)
def test_a_redirect_to_another_scheme_is_not_followed(server: Server, tmp_path: Path, address: str) -> None:
    server.redirect = address
    with pytest.raises(OSError, match=r"config\.json: redirected to .*, which is not https|is not allowed"):
        fetch("gpt2", tmp_path / "gpt2", hub=server.hub, out=io.StringIO())
    assert not (tmp_path / "gpt2" / "config.json").exists()


@pytest.mark.parametrize("address", ["http://huggingface.co/x", "ftp://huggingface.co/x", "file:///x", "//x"])
def test_only_https_is_asked(address: str) -> None:
    check_address("https://cdn.example.com/x", local="huggingface.co")
    for local in ("", "huggingface.co"):
        with pytest.raises(OSError, match="is not https"):
            check_address(address, local=local)


def test_an_endless_file_is_refused(server: Server, tmp_path: Path) -> None:
    server.announced = 10**13
    with pytest.raises(
        OSError, match=r"config\.json: the server announces 10,000,000,000,000 bytes, more than the 10,000"
    ):
        fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())


def test_a_download_without_progress_ends(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.drip = True
    monkeypatch.setattr(download, "PATIENCE", 0.1)
    with pytest.raises(OSError, match=r"config\.json: too slow: .* bytes in 0\.1 seconds; the bytes received are kept"):
        fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert (tmp_path / ".config.json.part").stat().st_size > 0
    server.drip = False
    fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert complete(tmp_path)


def test_without_a_network(tmp_path: Path) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        hub = f"http://127.0.0.1:{unheard.getsockname()[1]}"
    with pytest.raises(OSError, match=r"config.json: .*; the bytes received are kept"):
        fetch("gpt2", tmp_path / "gpt2", hub=hub, out=io.StringIO())
    assert not (tmp_path / "gpt2").exists()


def test_instructions_name_every_file_and_its_place(tmp_path: Path) -> None:
    text = instructions("gpt2-medium", Path("gpt2-medium"))
    for name in FILES:
        assert f"  https://huggingface.co/openai-community/gpt2-medium/resolve/main/{name}\n" in text
    assert f"into the folder {Path('gpt2-medium').resolve()}:\n" in text
    assert "python -m gpt import gpt2-medium --download" in text
