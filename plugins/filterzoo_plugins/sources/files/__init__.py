"""Remote files and their names: documents, Google Drive, hashes in names, names of weight files."""
