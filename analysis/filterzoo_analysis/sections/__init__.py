"""The sections of a report: each module makes exhibits of a `filterzoo_analysis.zoo.Zoo`."""
