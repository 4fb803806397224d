"""Transfer-learning image classification in pure functional JAX."""
