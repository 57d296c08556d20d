#!/usr/bin/env bash
# A crawl on a machine that is lent for one run: fetches the state, crawls, publishes, puts the state back.
#
#   filterzoo-job.sh STATE TARGET MANIFEST_OR_URL
#
# STATE is a folder that outlives the machine, such as a mounted bucket. SQLite needs locks and fragments need renames,
# which such folders seldom have, so the work itself is done on the machine's own disk. Exit codes: see filterzoo-crawl.sh.
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

# Fragments never change, so what is there in the same size is there. The journal comes last: it names no fragment then
# that is not there.
copy() {
    (cd -- "$1/fragments" && find . -type f -printf '%P\0') | while IFS= read -r -d '' path; do
        if [ "$(stat -c %s -- "$1/fragments/$path")" != "$(stat -c %s -- "$2/fragments/$path" 2> /dev/null)" ]; then
            mkdir -p -- "$(dirname -- "$2/fragments/$path")"
            cp -- "$1/fragments/$path" "$2/fragments/$path"
        fi
    done
    if [ -f "$1/journal.sqlite" ]; then cp -- "$1/journal.sqlite" "$2/journal.sqlite"; fi
}

case $manifest in
    http://* | https://*)
        python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' "$manifest" "$local/zoo.yaml"
        manifest=$local/zoo.yaml
        ;;
esac
copy "$state" "$work"
if [ -f "$work/journal.sqlite" ]; then filterzoo doctor --repair --workdir "$work"; fi

crawled=0
# The token is for publishing; a crawl reads untrusted files and needs none.
env -u HF_TOKEN filterzoo crawl "$manifest" --workdir "$work" || crawled=$?
if [ -f "$work/journal.sqlite" ]; then copy "$work" "$state"; fi
if [ "$crawled" -gt 1 ]; then
    exit "$crawled"
fi
filterzoo publish "$target" --workdir "$work"
exit "$crawled"
