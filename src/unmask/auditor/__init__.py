"""The one loop: observe, attack within a budget, score, record, go on after a kill."""
