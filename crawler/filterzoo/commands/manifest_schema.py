"""filterzoo manifest-schema: the JSON Schema of manifests, for editors."""

from __future__ import annotations

import json

import typer

from filterzoo import plugins as plugin_loading
from filterzoo.commands.options import PluginOption
from filterzoo.manifests.manifest import manifest_schema as schema_of


def manifest_schema(plugin: PluginOption = None) -> None:
    """Print the JSON Schema of manifests for the installed sources."""
    loaded = plugin_loading.load(plugin_loading.references(plugin or ()))
    typer.echo(json.dumps(schema_of(loaded.sources), indent=2))
