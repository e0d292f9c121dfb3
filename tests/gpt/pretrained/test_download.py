"""Fetching GPT-2's files, from a server of our own that breaks off, repeats, refuses and lies."""

import http.server
import io
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpt.pretrained import download
from gpt.pretrained.download import FILES, fetch, instructions

CONTENT = {name: bytes(range(256)) * (4 * i + 1) for i, name in enumerate(FILES)}


class Server(http.server.ThreadingHTTPServer):
    """Serve CONTENT; what it does to model.safetensors is set by the test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut_after: int | None = None  # bytes, after which each answer breaks off
        self.ranges = True
        self.length = True
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
        if name in self.server.status:
            self.send_error(self.server.status[name])
            return
        begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0  # type: ignore[index]
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
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
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
    return {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT


def test_four_files_come(server: Server, tmp_path: Path) -> None:
    out = io.StringIO()
    fetch("gpt2", tmp_path / "gpt2", hub=server.hub, out=out)
    assert complete(tmp_path / "gpt2")
    assert [path for path, _ in server.requests] == [f"/openai-community/gpt2/resolve/main/{name}" for name in FILES]
    assert out.getvalue().count("\n") == 4
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
    (tmp_path / ".model.safetensors.part").write_bytes(b"of an earlier day")
    server.ranges = False
    fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert complete(tmp_path)


def test_a_part_that_is_whole_or_too_long(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".merges.txt.part").write_bytes(CONTENT["merges.txt"])  # killed before it got its name
    (tmp_path / ".model.safetensors.part").write_bytes(bytes(10_000))
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "vocab.json"]
    server.status["merges.txt"] = 503
    with pytest.raises(OSError, match=r"merges.txt: HTTP Error 503"):
        fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())


def test_a_file_of_unknown_length_is_refused(server: Server, tmp_path: Path) -> None:
    server.length = False
    with pytest.raises(OSError, match="does not say how long the file is"):
        fetch("gpt2", tmp_path, hub=server.hub, out=io.StringIO())
    assert not (tmp_path / "config.json").exists()


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
