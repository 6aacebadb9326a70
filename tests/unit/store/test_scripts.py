"""Every Lua file is registered, and its header names what it takes."""

import re
from importlib.resources import files

import pytest
import redis

from livecheck_celery.store.scripts import Scripts

LUA = {
    path.name.removesuffix(".lua"): path.read_text()
    for path in files("livecheck_celery.store").joinpath("lua").iterdir()
}


def test_every_file_is_one_registered_operation(redis_client: redis.Redis) -> None:
    assert set(vars(Scripts(redis_client))) == set(LUA)


@pytest.mark.parametrize("name", sorted(LUA))
def test_the_header_names_every_key_and_argument_and_the_reply(name: str) -> None:
    lines = LUA[name].splitlines()
    header = [line for line in lines[: lines.index("")] if line.startswith("--")]
    code = "\n".join(lines[len(header) :])
    named = [match[1] for line in header if (match := re.match(r"-- ((?:KEYS|ARGV)\[\d+\]) ", line))]
    used = set(re.findall(r"(?:KEYS|ARGV)\[\d+\]", code))
    assert used == set(named)
    for kind in ("KEYS", "ARGV"):
        numbers = [int(one[5:-1]) for one in named if one.startswith(kind)]
        assert numbers == list(range(1, len(numbers) + 1))
    assert any(line.startswith("-- Reply ") for line in header)


@pytest.mark.parametrize("name", sorted(LUA))
def test_no_script_builds_a_key_or_reads_another_clock(name: str) -> None:
    assert "os." not in LUA[name]
    for called in re.findall(r"redis\.call\('[A-Z]+',\s*([^,)]+)", LUA[name]):
        assert called == "ARGV[4] .. string.sub(field" or re.fullmatch(r"KEYS\[\d\]|[a-z]+", called), called


def test_truth_and_nothing_reach_lua_as_documented(redis_client: redis.Redis) -> None:
    script = Scripts(redis_client).report
    script.source = "return {ARGV[1], ARGV[2], ARGV[3], ARGV[4]}"
    script.sha = "0" * 40  # unknown, so that the source is sent
    assert script([], [True, False, None, 0.25]) == ["1", "0", "", "0.25"]
