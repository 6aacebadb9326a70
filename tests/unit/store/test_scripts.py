"""Scripts: headers and declarations agree, calls take exactly their names, and scripts keep to their keys."""

import re
from functools import partial
from importlib.resources import files
from typing import Any

import pytest
import redis

from livecheck_celery.store.scripts import Script, run, run_all
from tests.helpers.store_operations import SCRIPTS

LUA = {
    path.name.removesuffix(".lua"): path.read_text()
    for path in files("livecheck_celery.store").joinpath("lua").iterdir()
}
NAMED = pytest.mark.parametrize("name", sorted(LUA))
ECHO = """-- Replies with its arguments.
--
-- KEYS[1]      store   not used
-- ARGV[1]      first   one value
-- ARGV[2...]   others  more values
-- Reply        them

return ARGV
"""


def make_script(source: str = ECHO, *, keys: tuple[str, ...] = ("store",), args: tuple[str, ...] = ()) -> Script:
    return Script("echo", keys=keys, args=args or ("first", "*others"), source=source)


def values_of(script: Script) -> dict[str, object]:
    """A value for each name."""
    return {name: ["x"] if f"*{name}" in (*script.keys, *script.args) else "x" for name in script.names}


# -- files and declarations


def test_every_file_is_declared_once_and_every_declaration_has_a_file() -> None:
    assert set(SCRIPTS) == set(LUA)


@NAMED
def test_script_uses_exactly_the_keys_and_arguments_of_its_header(name: str) -> None:
    script, code = SCRIPTS[name], LUA[name].partition("\n\n")[2]
    for kind, names in (("KEYS", script.keys), ("ARGV", script.args)):
        used = {int(index) for index in re.findall(rf"\b{kind}\[(\d+)\]", code)}
        fixed = [one for one in names if not one.startswith("*")]
        assert used == set(range(1, len(fixed) + 1))
        is_iterated = bool(re.search(rf"ipairs\({kind}\)|#{kind}\b", code))
        assert is_iterated == (len(fixed) < len(names))


@NAMED
def test_header_describes_the_reply(name: str) -> None:
    header = LUA[name].partition("\n\n")[0].splitlines()
    assert all(line.startswith("--") for line in header)
    assert any(line.startswith("-- Reply ") for line in header)


@NAMED
def test_script_builds_no_key_and_reads_no_other_clock(name: str) -> None:
    assert "os." not in LUA[name]
    for called in re.findall(r"redis\.call\('[A-Z]+',\s*([^,)]+)", LUA[name]):
        assert called == "inbox .. string.sub(field" or re.fullmatch(r"KEYS\[\d\]|[a-z_]+", called), called


@pytest.mark.parametrize(
    ("keys", "args"),
    [
        (("store",), ("others", "*first")),
        (("store",), ("first",)),
        (("store",), ("first", "others")),
        (("store", "more"), ("first", "*others")),
        ((), ("first", "*others")),
        (("stores",), ("first", "*others")),
    ],
)
def test_declaration_that_differs_from_the_header_is_refused(keys: tuple[str, ...], args: tuple[str, ...]) -> None:
    with pytest.raises(TypeError) as caught:
        make_script(keys=keys, args=args)
    assert str(caught.value) == (
        "lua/echo.lua: the header has KEYS (store) and ARGV (first, *others); "
        f"the declaration has KEYS ({', '.join(keys)}) and ARGV ({', '.join(args)})"
    )


def test_header_that_skips_an_index_is_refused() -> None:
    with pytest.raises(TypeError, match=r"lua/echo.lua: the header has .* ARGV \(first, \*\[3\] others\)"):
        make_script(ECHO.replace("ARGV[2...]", "ARGV[3...]"))


def test_header_with_a_name_after_the_one_for_all_that_follow_is_refused() -> None:
    source = ECHO.replace("ARGV[1] ", "ARGV[1...] ").replace("ARGV[2...] ", "ARGV[2] ")
    with pytest.raises(TypeError, match=r"ARGV \(\*first, \[2\] others\); "):
        make_script(source, args=("*first", "others"))


def test_header_that_differs_from_the_declaration_of_a_real_script_is_refused() -> None:
    renew = SCRIPTS["renew"]
    changed = LUA["renew"].replace("ARGV[3]  lease", "ARGV[3]  seconds")
    with pytest.raises(TypeError, match=r"lua/renew.lua: .*ARGV \(id, token, seconds\); .* ARGV \(id, token, lease\)"):
        Script("renew", keys=renew.keys, args=renew.args, source=changed)


def test_name_of_both_a_key_and_an_argument_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"lua/echo.lua: a name is used twice: .*\(store\) and ARGV \(store, \*others\)"
    ):
        make_script(ECHO.replace("first ", "store "), args=("store", "*others"))


def test_declaration_without_a_file_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match=r"no_such_script\.lua"):
        Script("no_such_script")


# -- calls


@NAMED
def test_call_without_one_of_its_names_is_refused(name: str) -> None:
    script = SCRIPTS[name]
    for missing in script.names:
        values = values_of(script)
        del values[missing]
        with pytest.raises(TypeError) as caught:
            script(**values)
        assert str(caught.value) == f"script {name!r}: missing {missing}"


@NAMED
def test_call_with_an_unknown_name_is_refused(name: str) -> None:
    script = SCRIPTS[name]
    with pytest.raises(TypeError) as caught:
        script(**values_of(script), surplus=1)
    assert str(caught.value) == f"script {name!r}: unknown surplus"


@NAMED
def test_call_with_a_misspelt_name_is_refused(name: str) -> None:
    script = SCRIPTS[name]
    for right in script.names:
        values = values_of(script)
        values[f"{right}x"] = values.pop(right)
        with pytest.raises(TypeError) as caught:
            script(**values)
        assert str(caught.value) == f"script {name!r}: missing {right}, unknown {right}x"


@NAMED
def test_call_by_position_is_refused(name: str) -> None:
    with pytest.raises(TypeError):
        SCRIPTS[name]("x")


@NAMED
def test_call_puts_each_value_in_its_place(name: str) -> None:
    script = SCRIPTS[name]
    values: dict[str, object] = {one: f"value of {one}" for one in script.names}
    starred = [one[1:] for one in (*script.keys, *script.args) if one.startswith("*")]
    values.update({one: [f"value of *{one}"] for one in starred})
    call = script(**dict(reversed(values.items())))
    assert call.keys == tuple(f"value of {one}" for one in script.keys)
    assert call.args == tuple(f"value of {one}" for one in script.args)


def test_call_cannot_be_changed() -> None:
    call = make_script()(store="s", first=1, others=[])
    with pytest.raises(AttributeError):
        call.args = ()


def test_booleans_are_sent_as_numbers_and_none_as_an_empty_string(redis_client: redis.Redis) -> None:
    call = make_script()(store="s", first=True, others=[False, None, 0.25, "text"])
    assert run(redis_client.execute_command, call) == ["1", "0", "", "0.25", "text"]


# -- sending


def pipelined(client: redis.Redis, commands: list[tuple[Any, ...]]) -> list[Any]:
    pipeline: Any = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    replies: list[Any] = pipeline.execute(raise_on_error=False)
    return replies


def test_replies_are_in_the_order_of_the_calls_and_errors_are_among_them(redis_client: redis.Redis) -> None:
    echo = make_script()
    failing = make_script(ECHO.replace("return ARGV", "return redis.call('GET')"))
    calls = [echo(store="s", first="a", others=[]), failing(store="s", first="b", others=[])]
    calls.append(echo(store="s", first="c", others=[]))
    for _ in range(2):  # unknown to the server, then known
        first, error, last = run_all(partial(pipelined, redis_client), calls)
        assert (first, last) == (["a"], ["c"])
        assert isinstance(error, redis.ResponseError)


def test_empty_list_of_calls_sends_nothing() -> None:
    with redis.Redis(port=1) as nowhere:
        assert run_all(partial(pipelined, nowhere), []) == []
