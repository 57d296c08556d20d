#!/usr/bin/env bash
# Schedules a weekly crawl on the Hub's own machines, with the `hf` program that is logged in (`hf auth login`).
#
#   schedule.sh IMAGE BUCKET TARGET MANIFEST_URL [HF_OPTION...]
#
# IMAGE: what ../docker/Dockerfile builds, pushed where the Hub can pull it. BUCKET: user/name of a bucket that keeps the
# state. TARGET: user/name of the data set. MANIFEST_URL: https://... of the manifest. HF_OPTION: --dry-run, --flavor, ...
# The token is read from HF_TOKEN of this shell and kept by the Hub as a secret of the Job.
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
