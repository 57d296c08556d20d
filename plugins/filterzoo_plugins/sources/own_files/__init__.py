"""The user's own files, local or at URLs, and the user's facts about them."""
