"""How close a guess came to the secret. Functions of the two, with no model and no torch."""
