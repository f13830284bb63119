"""Search for one sentence of an encoder: its order and words, by replays of changed guesses."""
