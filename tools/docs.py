"""Write the generated pages of ``docs/``: ``python -m tools.docs``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools import promises, tables

ROOT: Final = Path(__file__).parents[1]

#: The function that generates each page from the root of the repository.
PAGES: Final[Mapping[str, Callable[[Path], str]]] = {
    "api.md": tables.api_page,
    "promises.md": promises.page,
    "settings.md": tables.settings_page,
}


def main() -> None:
    """Write each generated page that has changed."""
    for name, page in PAGES.items():
        path = ROOT / "docs" / name
        text = page(ROOT)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote docs/{name}")  # noqa: T201 - a command


if __name__ == "__main__":
    main()
