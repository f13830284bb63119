"""What makes a scenario safer, one defence per file, each with the guarantee it states."""
