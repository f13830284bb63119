"""Take the batch of an encoder apart: words, mates, whole sentences, one after the other."""
