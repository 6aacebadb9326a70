"""The recipes of docs/recipes.md are short, and every line of them is in the example it is taken from."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "recipes.md").read_text()
RECIPES = dict(re.findall(r"^## ([^\n]+)\n.*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = {
    "Flask and Celery": "flask_orders",
    "FastAPI, httpx and Celery": "fastapi_orders",
    "A case with `async def`": "aio_orders",
    "Django and Celery": "django_orders",
    "Services that import no case": "untouched_orders",
}


def code(text: str) -> list[str]:
    """Lines without indentation and comments."""
    lines = (line.split("  # ")[0].strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def test_each_example_has_a_recipe() -> None:
    assert RECIPES.keys() == EXAMPLES.keys()
    assert {path.name for path in (ROOT / "examples").glob("*_orders")} == set(EXAMPLES.values())


@pytest.mark.promise("Every line of a recipe is in the example it is taken from.", theme="docs")
@pytest.mark.parametrize("title", EXAMPLES)
def test_a_recipe_is_ten_lines_of_its_example(title: str) -> None:
    assert len(RECIPES[title].splitlines()) <= 10
    package = ROOT / "examples" / EXAMPLES[title]
    written = {line for module in package.glob("*.py") for line in code(module.read_text())}
    assert [line for line in code(RECIPES[title]) if line not in written] == []


@pytest.mark.parametrize("module", ["tasks", "web"])
def test_services_that_import_no_case_have_three_lines_of_livecheck(module: str) -> None:
    text = (ROOT / "examples" / "untouched_orders" / f"{module}.py").read_text().rpartition('"""\n\n')[2]
    lines = [line for line in code(text) if "livecheck" in line.lower() and "import" not in line]
    assert (
        lines
        == {
            "tasks": ["livecheck = install(app)"],
            "web": ["livecheck.init_flask(app)", 'livecheck.instrument("requests")'],
        }[module]
    )
    assert "checks" not in text
    assert "Signal" not in text
