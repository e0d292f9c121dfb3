"""The description in the package: the README without pictures and links that lead nowhere outside of the repository."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# Code stays as it is: blocks[0](x) is no link.
CODE = r"^```.*?^```$|^ {4}[^\n]*$|`[^`\n]*`"
PICTURE = r"!\[[^\]]*\]\((?!https?:)[^)]*\)\n*"
LINK = r"\[(?P<text>[^\]]*)\]\((?!https?:)[^)]*\)"


class Description(MetadataHookInterface):
    """What hatchling asks for the fields that pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": without_relative_links(text)}


def without_relative_links(markdown: str) -> str:
    """Return a text whose relative links are their words only, and whose relative pictures are gone."""

    def replace(match: re.Match[str]) -> str:
        return match["code"] or match["text"] or ""

    return re.sub(f"(?P<code>{CODE})|{PICTURE}|{LINK}", replace, markdown, flags=re.DOTALL | re.MULTILINE)
