"""`python -m tests.deploy.kuberay_schema ray.io_rayjobs.yaml`: writes rayjob_schema.json from KubeRay's CRD.

The CRD, `ray-operator/config/crd/bases/ray.io_rayjobs.yaml` of https://github.com/ray-project/kuberay, describes every
field of a pod in 25,000 lines. Kept are the names of all fields beside those that our manifest sets, and the types
below the latter; descriptions and what lies below other fields are not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from tests.deploy.tools import ROOT

MANIFEST = ROOT / "deploy" / "ray" / "kuberay.yaml"
SCHEMA = Path(__file__).with_name("rayjob_schema.json")
PROVENANCE = (
    "Reduced by tests/deploy/kuberay_schema.py from ray-operator/config/crd/bases/ray.io_rayjobs.yaml of KubeRay "
    "v1.7.0, https://github.com/ray-project/kuberay, Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0"
)
_KEPT = (
    "type",
    "enum",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "required",
    "anyOf",
    "oneOf",
    "x-kubernetes-int-or-string",
)


def reduced(schema: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """The part of a schema that tells something about such values; fields that none of them has keep their types."""
    kept = {key: schema[key] for key in _KEPT if key in schema}
    if "properties" in schema:
        kept["properties"] = {
            name: reduced(own, found) if (found := [each[name] for each in values if name in each]) else shallow(own)
            for name, own in schema["properties"].items()
        }
        kept["additionalProperties"] = False
    elif "additionalProperties" in schema:
        below = [value for each in values for value in each.values()]
        kept["additionalProperties"] = reduced(schema["additionalProperties"], below)
    if "items" in schema:
        kept["items"] = reduced(schema["items"], [item for each in values for item in each])
    return kept


def shallow(schema: dict[str, Any]) -> dict[str, Any]:
    """The type alone. What is below it is not known here, so it has to be empty: write the schema again to set it."""
    empty: dict[str, dict[str, Any]] = {"object": {"maxProperties": 0}, "array": {"maxItems": 0}}
    kind = schema.get("type", "")
    return {key: schema[key] for key in _KEPT if key in schema and key != "required"} | empty.get(kind, {})


def main() -> None:
    crd = yaml.safe_load(Path(sys.argv[1]).read_text())
    (version,) = (one for one in crd["spec"]["versions"] if one["name"] == "v1")
    schema = reduced(version["schema"]["openAPIV3Schema"], [yaml.safe_load(MANIFEST.read_text())])
    SCHEMA.write_text(json.dumps({"$comment": PROVENANCE, **schema}, indent=1) + "\n")


if __name__ == "__main__":
    main()
