"""Run a chat template in the language Jinja, as Hugging Face's models have it, in a process of its own.

A template is somebody else's program. jinja2's sandbox keeps it from files and from Python's internals, but not from
computing without end: range(10**5) in three nested loops, or 'x' * 10**10 in one expression. So it runs in a process that
may take SECONDS for a request and MEMORY in all, where the system limits memory, and is then killed. The process stays for
the next request: jinja2 takes 0.1 s to import. It is started from this file, which therefore imports nothing of ours.

The filters and functions are those that transformers gives to templates, and so are the white space rules.
Source: transformers, utils/chat_template_utils.py, _cached_compile_jinja_template.
"""

import atexit
import importlib.util
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

SECONDS = 10  # for all jobs of a request; a machine may be busy
MEMORY = 512 << 20  # bytes of address space
LARGEST = 4 << 20  # characters of a result
LONGEST_TEMPLATE = 1 << 18  # characters; Llama 3.1's has 50,000 with its tools
EXTRA = "needs jinja2; install it with: pip install 'nanograd-gpt[chat]'"

Job = tuple[Sequence[dict[str, str]], bool]


def run_jinja(source: str, jobs: Sequence[Job], bos_token: str, eos_token: str) -> list[str]:
    """Return the text that a template writes for each job: messages with role and content, and whether to ask for a reply.

    Raises ValueError, with the template's own words, where it refuses the messages; for a template that is not valid, takes
    too long or writes too much; and without jinja2.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise ValueError(f"the model's chat template {EXTRA}")
    request = {"source": source, "jobs": jobs, "tokens": {"bos_token": bos_token, "eos_token": eos_token}}
    reply = _worker.ask(json.dumps(request))
    if "error" in reply:
        raise ValueError(f"the model's chat template: {reply['error']}; name another with --template")
    texts: list[str] = reply["texts"]
    return texts


class _Worker:
    """The process that runs templates: started with the first request, and again after one that was killed."""

    process: "subprocess.Popen[str] | None" = None

    def ask(self, request: str) -> dict[str, Any]:
        """Send a request and return the reply; a process that takes too long, or is interrupted, is killed."""
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-P", __file__]  # -P: modules beside this file must not hide others
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
            atexit.register(self.stop)
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        is_late = threading.Event()

        def stop_late() -> None:
            is_late.set()
            process.kill()

        timer = threading.Timer(SECONDS, stop_late)
        line = ""
        try:
            timer.start()
            process.stdin.write(request + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:  # it died while it was asked
            pass
        finally:
            timer.cancel()
            if not line.endswith("\n"):
                self.stop()
        if not line.endswith("\n"):
            return {
                "error": f"took more than {SECONDS} s" if is_late.is_set() else "needs more memory than it may take"
            }
        reply: dict[str, Any] = json.loads(line)
        return reply

    def stop(self) -> None:
        """End the process."""
        atexit.unregister(self.stop)
        if (process := self.process) is not None:
            self.process = None
            process.kill()
            process.communicate()


_worker = _Worker()


def serve() -> None:
    """Answer requests, a JSON line each, until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, OSError, ValueError):  # Windows has none
        pass
    compiled: dict[str, Any] = {}
    reply: dict[str, Any]
    for line in sys.stdin:
        try:
            request = json.loads(line)
            source = request["source"]
            if source not in compiled:
                if len(source) > LONGEST_TEMPLATE:
                    raise ValueError(f"has {len(source):,} characters; {LONGEST_TEMPLATE:,} are allowed")
                compiled = {source: compile_template(source)}
            reply = {
                "texts": [
                    write(compiled[source], messages, ask, request["tokens"]) for messages, ask in request["jobs"]
                ]
            }
        except BaseException as error:  # whatever it is, the template did it
            words = " ".join(str(error).split())[:300]
            line_number = getattr(error, "lineno", None)
            reply = {"error": f"{words or type(error).__name__}{f' (line {line_number})' if line_number else ''}"}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def write(template: Any, messages: list[dict[str, str]], ask: bool, tokens: dict[str, str]) -> str:
    """Return the text that a compiled template writes."""
    variables = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": ask}
    pieces, n = [], 0
    for piece in template.generate(**variables, **tokens):
        n += len(piece)
        if n > LARGEST:
            raise ValueError(f"writes more than {LARGEST:,} characters")
        pieces.append(piece)
    return "".join(pieces)


def compile_template(source: str) -> Any:
    """Return the template of jinja2's sandbox, with what transformers adds."""
    import jinja2
    import jinja2.ext
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """{% generation %} … {% endgeneration %} marks what a model learns; here it only writes what is inside."""

        tags = frozenset({"generation"})

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def raise_exception(message: Any) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(x, ensure_ascii=ensure_ascii, **options)

    def strftime_now(format: str) -> str:
        return datetime.now().strftime(format)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    return environment.from_string(source)


if __name__ == "__main__":
    serve()
