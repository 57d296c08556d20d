"""Measures of a layer's filters, and mergeable statistics."""
