"""Mechanisms with a stated guarantee, one per file: private data in, a release and its claim out."""
