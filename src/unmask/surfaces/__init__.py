"""What an adversary can see, one surface per file."""
