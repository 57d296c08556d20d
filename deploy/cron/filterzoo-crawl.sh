#!/usr/bin/env bash
# Crawls the manifests, then publishes what is new. All its settings are in the file SETTINGS.
#
#   filterzoo-crawl.sh SETTINGS MANIFEST...
#
# Exit code: 0 success; 1 checkpoints failed or a zoo could not be listed, and the rest is published; 2 crawl or publish
# failed; 3 the last run is still working. Any other code is that of a command that was killed.
# For all codes except 0 and 3, filterzoo-notify.sh sends a notification.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: filterzoo-crawl.sh SETTINGS MANIFEST..." >&2
    exit 2
fi
settings=$(realpath -- "$1")
here=$(dirname -- "$(realpath -- "$0")")
shift
set -a
# shellcheck source=/dev/null
. "$settings"
set +a
: "${FILTERZOO:?is not set in $settings}" "${FILTERZOO_WORKDIR:?is not set in $settings}"
: "${FILTERZOO_TARGET:?is not set in $settings}"

# The crawl locks its work folder itself. This lock is held from the start of the crawl to the end of the publication.
mkdir -p -- "$FILTERZOO_WORKDIR"
exec 9> "$FILTERZOO_WORKDIR/schedule.lock"
if ! flock --nonblock 9; then
    echo "filterzoo-crawl.sh: the last run is still working in $FILTERZOO_WORKDIR" >&2
    exit 3
fi

# shellcheck disable=SC2329  # called by the trap
notify() {
    code=$?
    if [ "$code" -ne 0 ] && [ "$code" -ne 3 ] && [ -z "${FILTERZOO_NOTIFIED:-}" ]; then
        "$here/filterzoo-notify.sh" "$settings" "exit code $code" 9>&- || echo "filterzoo-crawl.sh: nobody could be told" >&2
    fi
    exit "$code"
}
trap notify EXIT

crawled=0
"$FILTERZOO" crawl "$@" --workdir "$FILTERZOO_WORKDIR" ${FILTERZOO_METRICS:+--metrics "$FILTERZOO_METRICS"} 9>&- ||
    crawled=$?
if [ "$crawled" -gt 1 ]; then
    exit "$crawled"
fi
"$FILTERZOO" publish "$FILTERZOO_TARGET" --workdir "$FILTERZOO_WORKDIR" 9>&-
exit "$crawled"
