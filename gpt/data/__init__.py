"""Documents → shards of tokens on disk → batches."""
