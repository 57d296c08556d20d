"""The loops over a layer's filters, compiled by Numba once per machine, and the functions that call them."""
