"""The jail: a child process that parses hostile bytes and returns nothing but a table of byte spans.

`Jail` is the parent's side. `child` runs the format plugins under `confinement`; `messages` is what they say to each
other, and `validation` is what the parent believes of it.
"""

from filterzoo.jail.parent import Jail

__all__ = ["Jail"]
