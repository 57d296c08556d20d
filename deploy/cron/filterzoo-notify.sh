#!/usr/bin/env bash
# Reports a failed scheduled crawl: sends the output of `filterzoo status` to a webhook, a command, or both.
#
#   filterzoo-notify.sh SETTINGS WHAT_HAPPENED
#
# FILTERZOO_NOTIFY_URL gets {"text": "..."}, the format of Slack, Mattermost, Teams and many others. FILTERZOO_NOTIFY is a
# command that reads the text. The text is also written to standard error, which cron mails.
set -euo pipefail

if [ $# -ne 2 ]; then
    echo "usage: filterzoo-notify.sh SETTINGS WHAT_HAPPENED" >&2
    exit 2
fi
settings=$(realpath -- "$1")
set -a
# shellcheck source=/dev/null
. "$settings"
set +a

state=$("$FILTERZOO" status --workdir "$FILTERZOO_WORKDIR" 2>&1 | head -n 40 || true)
text=$(printf 'FilterZoo on %s: %s\n\n%s\n' "$(uname -n)" "$2" "$state")
printf '%s\n' "$text" >&2
sent=0
if [ -n "${FILTERZOO_NOTIFY:-}" ]; then
    printf '%s\n' "$text" | sh -c "$FILTERZOO_NOTIFY" || sent=1
fi
if [ -n "${FILTERZOO_NOTIFY_URL:-}" ]; then
    # The URL is a secret, so it must not appear in the list of processes.
    printf '%s\n' "$text" | python3 -c '
import json, os, sys, urllib.request
body = json.dumps({"text": sys.stdin.read()}).encode()
request = urllib.request.Request(os.environ["FILTERZOO_NOTIFY_URL"], body, {"Content-Type": "application/json"})
urllib.request.urlopen(request, timeout=30).close()
' || sent=1
fi
exit "$sent"
