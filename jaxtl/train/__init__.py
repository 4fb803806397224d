"""Training and evaluation: pure, jit-compiled steps and the loop around them."""
