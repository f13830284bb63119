"""How stable training and conversion are, and what each choice is worth: one factor changed at a time."""
