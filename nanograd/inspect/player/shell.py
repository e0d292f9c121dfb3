"""What every page is in: one file, no network, and a policy that lets no other style or script run."""

import base64
import hashlib
from importlib import resources

from nanograd.inspect.player.drawing import clean


def document(title: str, body: str, *, style: str, script: str = "") -> str:
    """Return a page of HTML whose Content-Security-Policy names its own style and script by their hashes.

    body is HTML as it is; `style` follows what all pages share, base.css.
    """
    style = f"\n{resource(__package__, 'base.css')}\n{style}"
    script = f"\n{script}" if script else ""
    scripts = f" script-src {_hash(script)};" if script else ""
    policy = f"default-src 'none'; style-src {_hash(style)};{scripts} base-uri 'none'; form-action 'none'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{clean(title)}</title>
<style>{style}</style>
</head>
<body>
{body}
{f"<script>{script}</script>" if script else ""}
</body>
</html>
"""


def resource(package: str, name: str) -> str:
    """Return the text of a file that lies beside the code of a package."""
    return resources.files(package).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
