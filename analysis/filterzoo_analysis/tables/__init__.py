"""What is read of a published data set, and which models of it an analysis is about."""
