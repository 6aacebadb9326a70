"""Generators of pages: promises are read from marks in the source, and tables from the code."""

from datetime import timedelta
from pathlib import Path

import pytest
from celery.schedules import BaseSchedule
from pydantic import BaseModel, Field, InstanceOf

from livecheck_celery.utils.option_types import Delay
from tools import promises, tables


def write_test(root: Path, path: str, *lines: str) -> None:
    file = root / "tests" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(["import nothing_that_exists", *lines]))


def test_promises_are_read_without_importing_the_tests(tmp_path: Path) -> None:
    write_test(
        tmp_path,
        "acceptance/test_it.py",
        '@pytest.mark.promise("It is one" " sentence.", theme="verdicts")',
        '@pytest.mark.promise("Two.", "signals")',
        "async def test_one(): ...",
        '@pytest.mark.promise("Three.", theme="docs")',
        "class TestMany:\n    def test_it(self): ...",
    )
    assert promises.promises(tmp_path) == [
        ("It is one sentence.", "verdicts", "tests/acceptance/test_it.py", "test_one"),
        ("Two.", "signals", "tests/acceptance/test_it.py", "test_one"),
        ("Three.", "docs", "tests/acceptance/test_it.py", "TestMany"),
    ]


def test_a_promise_without_a_theme_has_that_of_its_folder(tmp_path: Path) -> None:
    write_test(tmp_path, "unit/store/redis/test_it.py", '@pytest.mark.promise("One.")', "def test_one(): ...")
    assert [promise.theme for promise in promises.promises(tmp_path)] == ["verdicts"]


@pytest.mark.parametrize(
    ("mark", "error"),
    [
        ('promise("One.")', r"test_it\.py::test_one: unknown theme None; choose from requests, verdicts"),
        ('promise("One.", theme="nothing")', "unknown theme 'nothing'"),
        ('promise(TEXT, theme="docs")', "promise\\(\\) takes literal text"),
        ('promise(theme="docs")', "promise\\(\\) takes literal text"),
    ],
)
def test_a_wrong_mark_is_an_error_that_names_the_test(tmp_path: Path, mark: str, error: str) -> None:
    write_test(tmp_path, "acceptance/test_it.py", f"@pytest.mark.{mark}", "def test_one(): ...")
    with pytest.raises(ValueError, match=error):
        promises.promises(tmp_path)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["@MARK", "def tset_one(): ..."], "1 of 1 promises are not on a test that pytest collects"),
        (["class TestOne:", "    @MARK", "    def check(self): ..."], "1 of 1 promises are not on a test"),
        (["@MARK", "class TestOne: ..."], "1 of 1 promises are not on a test"),
        (["def test_one():", "    @MARK", "    def test_two(): ..."], "1 of 1 promises are not on a test"),
        (["pytestmark = MARK", "def test_one(): ..."], "1 of 1 promises are not on a test"),
        (["@MARK", "@pytest.mark.skip", "def test_one(): ..."], "a promise on a test with pytest.mark.skip"),
        (["@MARK", "@pytest.mark.xfail(strict=True)", "def test_one(): ..."], "a test with pytest.mark.xfail"),
    ],
)
def test_a_promise_that_no_test_keeps_is_an_error(tmp_path: Path, lines: list[str], error: str) -> None:
    mark = 'pytest.mark.promise("One.", theme="docs")'
    write_test(tmp_path, "unit/test_it.py", *(line.replace("MARK", mark) for line in lines))
    with pytest.raises(ValueError, match=error):
        promises.promises(tmp_path)


def test_one_promise_at_two_tests_is_an_error(tmp_path: Path) -> None:
    mark = '@pytest.mark.promise("One.", theme="docs")'
    write_test(tmp_path, "unit/test_it.py", mark, "def test_one(): ...", mark, "def test_two(): ...")
    with pytest.raises(ValueError, match="test_two: same promise as tests/unit/test_it.py::test_one"):
        promises.promises(tmp_path)


class Model(BaseModel):
    wait: Delay = 90.0
    expires: timedelta = Field(default=timedelta(hours=3), description="When it\n    expires | or not.")
    every: Delay | InstanceOf[BaseSchedule] | None = None
    names: tuple[str, ...] = ("a", "b")
    on: bool = True
    limit: int = 10_000


def test_a_table_has_type_default_and_description_of_each_field() -> None:
    assert tables.table(Model).splitlines()[2:] == [
        "| `wait` | duration | 90 s |  |",
        r"| `expires` | duration | 3 h | When it expires \| or not. |",
        "| `every` | duration or Celery schedule | none |  |",
        "| `names` | list of str | `a,b` |  |",
        "| `on` | bool | true |  |",
        "| `limit` | int | 10,000 |  |",
    ]


def test_a_page_without_a_place_for_its_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="missing <!-- generated: x --> or <!-- end of x -->"):
        tables.fill("<!-- generated: x -->\n", "x", "block")
