"""The commands of this room, one a module. What they need is imported when they run."""
