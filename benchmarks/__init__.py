"""Programs that measure every bar of the project; their rows are kept under results/."""
