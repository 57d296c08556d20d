"""The user's own files, on this machine or at addresses, and the user's facts about them."""
