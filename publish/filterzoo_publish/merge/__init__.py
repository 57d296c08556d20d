"""Published data sets as origins of rows."""
