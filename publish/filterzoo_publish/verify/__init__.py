"""What a release must satisfy, checked on the published files alone."""
