"""Attacks on a private text that others may ask: a store of records, or a span of a prompt."""
