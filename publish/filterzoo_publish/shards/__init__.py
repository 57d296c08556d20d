"""The Parquet files and metadata cards of a release."""
