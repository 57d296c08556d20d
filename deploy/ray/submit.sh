#!/usr/bin/env bash
# Submits a crawl to a Ray cluster: submit.sh MANIFEST STORE [OPTION...]. RAY_API_SERVER_ADDRESS: see `ray job`.
#
#   RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265 deploy/ray/submit.sh zoo.yaml s3://bucket/prefix --max-hours 20
#
# The manifest is uploaded with the job. The job continues without this terminal. Submitted again, it does what is missing.
set -euo pipefail
if [ "$#" -lt 2 ]; then
  echo "usage: submit.sh MANIFEST STORE [OPTION of filterzoo crawl...]" >&2
  exit 2
fi
manifest=$1 store=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp -- "$manifest" "$folder/zoo.yaml"
exec_line=(filterzoo crawl zoo.yaml --executor ray --ray-address auto --store "$store" --workdir /tmp/filterzoo-work)
ray job submit --working-dir "$folder" -- "${exec_line[@]}" "$@"
