"""Inversion of attention as pure tensor mathematics: no model, no tokenizer, no secret."""
