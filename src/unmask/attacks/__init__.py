"""One published method per file. An attack gets an observation and nothing else."""
