"""What the change of a fine-tuned transformer gives away of the sentences it was tuned on."""
