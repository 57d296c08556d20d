"""Files at addresses and the names they have: documents, Google Drive, hashes in names, what looks like weights."""
