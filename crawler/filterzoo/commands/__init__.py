"""One module a command; `filterzoo.cli` hands them to Typer."""
