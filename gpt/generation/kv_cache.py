"""The key–value cache: what a decoder keeps of the tokens it has read."""

import numpy as np

from gpt.config import ModelConfig

FIRST_SLOTS = 256  # of the cache


class KVCache:
    """The keys and values of the tokens that a batch of texts has read, in every block.

    keys[i] and values[i] (B, K, S, D) belong to block i. The t-th token of every row is stored in slot t % slots, so a
    token past the last slot overwrites the oldest one. There are `capacity` slots, or fewer: with a window, no token sees
    more than the last `window`. The arrays grow with the text, up to S = slots. A row with a shorter prompt is padded on
    the left: its own tokens begin at t = starts[b].
    """

    def __init__(self, config: ModelConfig, batch_size: int, capacity: int, dtype: np.dtype) -> None:
        self.capacity, self.slots = capacity, min(capacity, config.window or capacity)
        shape = batch_size, config.n_kv_heads, min(self.slots, FIRST_SLOTS), config.head_dim
        self.keys = [np.empty(shape, dtype) for _ in range(config.n_layers)]
        self.values = [np.empty(shape, dtype) for _ in range(config.n_layers)]
        self.token_ids = np.zeros((batch_size, capacity), np.intp)  # the t-th token in column t % capacity
        self.starts = np.zeros(batch_size, np.intp)
        self.length = 0  # tokens of a row that were read, with padding and those overwritten since
        self.begun = 0  # the largest length since the cache was cleared, with reads that Ctrl-C may have interrupted

    def reserve(self, tokens: int) -> None:
        """Make room for the next tokens: at least twice as much as there is, so that each token is copied about once."""
        if not self.holds(self.length):
            raise ValueError("an interrupted read overwrote tokens that the next ones see; read the text with prefill")
        self.begun = max(self.begun, self.length + tokens)
        n, (B, K, room, D) = min(self.length, self.slots), self.values[-1].shape  # of the array that grows last
        if (needed := min(self.length + tokens, self.slots)) <= room:
            return
        for arrays in (self.keys, self.values):
            for i, array in enumerate(arrays):
                larger = np.empty((B, K, min(max(needed, 2 * room), self.slots), D), array.dtype)
                larger[:, :, :n], arrays[i] = array[:, :, :n], larger

    def holds(self, length: int) -> bool:
        """Return whether token number `length` finds the slots - 1 tokens before it, which are all that it sees."""
        return self.begun <= max(self.slots, length + 1)

    def cut(self, length: int) -> bool:
        """Forget all tokens from `length` on; return False, and forget none, if the next one sees an overwritten token."""
        assert 0 <= length <= self.length
        if not self.holds(length):
            return False
        self.length = length
        return True

    def append(self, stored: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Store the next T tokens' keys (or values) of a block, new (B, K, T, D), into `stored`, one of its arrays.

        Return what these tokens may see, (B, K, N, D), the oldest first: at most `slots` earlier ones, and themselves.
        """
        n, T = self.length, new.shape[2]
        if n + T <= self.slots:
            stored[:, :, n : n + T] = new
            return stored[:, :, : n + T]
        earlier = np.arange(max(n - self.slots, 0), n) % self.slots  # before they are overwritten
        seen = np.concatenate((stored[:, :, earlier], new), axis=2)
        kept = min(T, self.slots)
        stored[:, :, np.arange(n + T - kept, n + T) % self.slots] = new[:, :, T - kept :]
        return seen

    def attn_mask(self, n_slots: int) -> np.ndarray | None:
        """Return the mask (B, 1, 1, n_slots) to add to the next token's scores, or None if it attends to all slots.

        It is -∞ at padding that no later token has overwritten.
        """
        if self.starts.max() <= self.length + 1 - n_slots:  # the oldest token still stored
            return None
        t = self.length - (self.length - np.arange(n_slots)) % self.slots  # the token in each slot
        is_padding = t < self.starts[:, None]
        return np.where(is_padding, -np.inf, 0).astype(self.keys[0].dtype)[:, None, None]

    def may_see(self, T: int) -> np.ndarray | None:
        """Return which keys the next T tokens see, boolean (B, 1, T, N), of those that `append` returns.

        A token sees itself and up to slots - 1 keys before it, except padding. At the beginning of a text (N = T) the
        options causal and window of attention say so, at less cost: then only padding is masked, or the result is None.
        """
        N = min(self.length, self.slots) + T
        key, query = np.arange(N), np.arange(N - T, N)[:, None]
        is_text = key >= self.starts[:, None, None, None] - (self.length + T - N)  # (B, 1, 1, N)
        if N == T:
            return None if is_text.all() else is_text
        return is_text & (key <= query) & (key > query - self.slots)
