"""The commands of this package, one module each. Their imports happen when they run."""
