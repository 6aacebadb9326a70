"""Hooks of MkDocs (``hooks`` in mkdocs.yml): pages from the root of the repository, and links to its files.

Pages link to files outside ``docs/`` relatively, so that the links work in a checkout too. In the site they lead to the
repository, or to the page that is generated from the file. A link to a file that does not exist fails the build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]

#: Files in the root of the repository that are pages of the site.
PAGES: Final = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}

_LINK: Final = re.compile(r"(?<=\]\()(?!#|\w+:)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated from files in the root of the repository."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs'
    """Rewrite links to files outside ``docs/``.

    Raises:
        PluginError: a file does not exist.
    """
    sources = {made: source for source, made in PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def rewrite(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[0]))
        if not (ROOT / target).exists():
            raise PluginError(f"{source}: link to a missing file: {target}")
        if target in PAGES:
            return PAGES[target]
        if target.startswith("docs/"):
            return target.removeprefix("docs/")
        return f"{config.repo_url}/blob/main/{target}"

    return _LINK.sub(rewrite, markdown)
