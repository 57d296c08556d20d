"""Published data sets as the origin of rows."""
