#!/usr/bin/env bash
# A crawl on a machine that exists for a single run: fetches the state, crawls, publishes, and saves the state.
#
#   filterzoo-job.sh STATE TARGET MANIFEST_OR_URL
#
# STATE is a folder that outlives the machine, such as a mounted bucket. Such folders seldom support the locks that SQLite
# needs and the renames that fragments need, so the crawl works on the machine's own disk. The work folder is copied to
# STATE every FILTERZOO_SYNC seconds (300), and again at the end, also after SIGTERM. If the machine is lost, only the
# work since the last copy is lost. Exit codes: see filterzoo-crawl.sh.
set -euo pipefail

if [ $# -ne 3 ]; then
    echo "usage: filterzoo-job.sh STATE TARGET MANIFEST_OR_URL" >&2
    exit 2
fi
state=$1 target=$2 manifest=$3
local=$(mktemp -d)
trap 'rm -rf -- "$local"' EXIT
work=$local/work
mkdir -p -- "$state/fragments" "$work/fragments"

# Fragments are immutable, so a file of the same size need not be copied.
copy_fragments() {
    (cd -- "$1/fragments" && find . -type f -printf '%P\0') | while IFS= read -r -d '' path; do
        if [ "$(stat -c %s -- "$1/fragments/$path")" != "$(stat -c %s -- "$2/fragments/$path" 2> /dev/null)" ]; then
            mkdir -p -- "$(dirname -- "$2/fragments/$path")"
            cp -- "$1/fragments/$path" "$2/fragments/$path"
        fi
    done
}

# The journal is read before the fragments are copied and written after them, so that it names no missing fragment. SQLite
# makes the copy, because the crawl may be writing to the journal.
save_state() {
    if [ ! -f "$work/journal.sqlite" ]; then return 0; fi
    rm -f -- "$local/journal"
    python3 -c '
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1], timeout=60)) as source:
    with contextlib.closing(sqlite3.connect(sys.argv[2])) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
' "$work/journal.sqlite" "$local/journal"
    copy_fragments "$work" "$state"
    cp -- "$local/journal" "$state/journal.sqlite"
}

save_periodically() {
    pause=''
    trap 'kill "$pause" 2> /dev/null || true; exit 0' TERM
    while true; do
        sleep "${FILTERZOO_SYNC:-300}" &
        pause=$!
        wait "$pause"
        save_state || echo "filterzoo-job.sh: the state could not be copied; tried again" >&2
    done
}

case $manifest in
    http://* | https://*)
        python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' "$manifest" "$local/zoo.yaml"
        manifest=$local/zoo.yaml
        ;;
esac
copy_fragments "$state" "$work"
if [ -f "$state/journal.sqlite" ]; then
    cp -- "$state/journal.sqlite" "$work/journal.sqlite"
    filterzoo doctor --repair --workdir "$work"
fi

crawled=0
# The token is only for publishing. A crawl reads untrusted files and needs no token.
env -u HF_TOKEN filterzoo crawl "$manifest" --workdir "$work" &
crawl=$!
save_periodically &
saving=$!
trap 'kill -TERM "$crawl" 2> /dev/null || true' TERM INT
wait "$crawl" || crawled=$?
# A signal ends `wait` before the crawl ends.
while kill -0 "$crawl" 2> /dev/null; do
    crawled=0
    wait "$crawl" || crawled=$?
done
kill "$saving" 2> /dev/null || true
wait "$saving" 2> /dev/null || true
save_state
if [ "$crawled" -gt 1 ]; then
    exit "$crawled"
fi
filterzoo publish "$target" --workdir "$work"
exit "$crawled"
