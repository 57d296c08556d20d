"""Networks that may be run: installed, trusted code with weights from the safe reader."""
