"""The manifest: its keys, and the messages for what is wrong in one."""
