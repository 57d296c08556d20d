"""Networks that may be run: code that is installed and trusted, with weights that the safe reader read."""
