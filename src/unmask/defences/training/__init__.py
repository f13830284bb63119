"""Training by DP-SGD through Opacus: one step, the loop, and the self-test that comes before both."""
