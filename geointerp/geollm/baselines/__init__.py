"""What a language model has to beat."""
