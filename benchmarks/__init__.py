"""What jaxtl costs, measured; run from the root of the repository."""
