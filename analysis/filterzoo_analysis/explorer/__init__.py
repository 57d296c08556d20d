"""A page that queries a published data set in the browser."""
