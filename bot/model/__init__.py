"""The gateway: the only way to a language model."""
