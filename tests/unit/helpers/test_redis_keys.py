"""The check for unbounded keys finds them."""

import pytest
import redis

from tests.helpers.redis_keys import unbounded_keys


@pytest.mark.promise("Every test of this project that leaves a key without a bound or a TTL fails.", theme="bounds")
def test_key_without_ttl_is_reported(redis_client: redis.Redis) -> None:
    redis_client.set("livecheck:{c}:test:state", 1)
    redis_client.zadd("livecheck:{c}:open", {"id": 1})
    redis_client.xadd("livecheck:{c}:reports", {"report": "{}"})
    assert sorted(unbounded_keys(redis_client, "livecheck")) == [
        "livecheck:{c}:open",
        "livecheck:{c}:reports",
        "livecheck:{c}:test:state",
    ]
    redis_client.flushall()


def test_bounded_keys_and_foreign_keys_are_not_reported(redis_client: redis.Redis) -> None:
    redis_client.hset("livecheck:{cases}:settings", "c", "{}")
    redis_client.hset("livecheck:{c}:suite", "status", "PASS")
    redis_client.rpush("livecheck:{c}:runtime", 1)
    redis_client.set("livecheck:{c}:test:1", 1, ex=10)
    redis_client.rpush("livecheck", "a message")
    redis_client.sadd("_kombu.binding.livecheck", "a binding")
    assert unbounded_keys(redis_client, "livecheck") == []
