"""Built-in plugins, found through entry points like third-party ones."""
