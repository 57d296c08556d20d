#!/usr/bin/env bash
# Schedules a weekly crawl as a Job of the Hub, with the `hf` program, which must be logged in (`hf auth login`).
#
#   schedule.sh IMAGE BUCKET TARGET MANIFEST_URL [HF_OPTION...]
#
# IMAGE: the image of ../docker/Dockerfile, in a registry that the Hub can pull from. BUCKET: user/name of the bucket for
# the state. TARGET: user/name of the data set. MANIFEST_URL: https://... of the manifest. HF_OPTION: --dry-run, --flavor,
# ... The token is read from HF_TOKEN in this shell; the Hub stores it as a secret of the Job.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: schedule.sh IMAGE BUCKET TARGET MANIFEST_URL [HF_OPTION...]" >&2
    exit 2
fi
image=$1 bucket=$2 target=$3 manifest=$4
shift 4
exec "${HF:-hf}" jobs scheduled run \
    --name filterzoo \
    --flavor cpu-upgrade \
    --timeout 12h \
    --no-concurrency \
    --secrets HF_TOKEN \
    --volume "hf://buckets/$bucket:/state" \
    "$@" \
    "17 3 * * 1" "$image" \
    filterzoo-job.sh /state "$target" "$manifest"
