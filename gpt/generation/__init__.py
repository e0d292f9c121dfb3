"""Writing with a trained model: a decoder with a KV cache, sampling, beam search, and scoring of texts."""
