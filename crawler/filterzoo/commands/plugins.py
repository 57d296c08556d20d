"""filterzoo plugins: what is installed, what failed to load, and which layers of the jail are active here."""

from __future__ import annotations

import json

import typer

from filterzoo import plugins as plugin_loading
from filterzoo.commands.catalogue import named_commands
from filterzoo.commands.options import JsonOption, PluginOption
from filterzoo.jail import Jail
from filterzoo.reporting.terminal import cell, console, printable, table


def plugins(plugin: PluginOption = None, *, as_json: JsonOption = False) -> None:
    """List what plugins offer, with the plugin each comes from, and the active layers of the jail."""
    loaded = plugin_loading.load(plugin_loading.references(plugin or ()))
    with Jail(loaded.format_references) as jail:
        confinement = jail.confinement
    named = {f"command:{name}": command.module.partition(".")[0] for name, command in named_commands().items()}
    provided = plugin_loading.BUILT_IN | named | loaded.provided_by
    offers = [(*key.split(":", 1), provider) for key, provider in sorted(provided.items())]
    if as_json:
        document = {
            "offers": [{"what": what, "name": name, "plugin": provider} for what, name, provider in offers],
            "failed": [{"plugin": f.plugin, "stage": f.stage, "error": f.detail} for f in loaded.failures],
            "jail": confinement,
        }
        typer.echo(json.dumps(document))
    else:
        made = table("what", "name", "plugin")
        for what, name, provider in offers:
            made.add_row(what, cell(name), cell(provider))
        console().print(made)
        console().print(f"jail: {', '.join(confinement)}")
        for failure in loaded.failures:
            console().print(f"failed: {failure.plugin}: {failure.stage}: {printable(failure.detail, 300)}")
    if loaded.failures:
        raise typer.Exit(1)
