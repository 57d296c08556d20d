"""What a manifest may say, and how its errors are told."""
