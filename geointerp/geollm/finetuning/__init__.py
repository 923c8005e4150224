"""Fine-tuning a language model on places whose truth is known."""
