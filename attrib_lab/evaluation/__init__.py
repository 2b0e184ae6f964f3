"""How good explanations are: metrics, the models and explainers that they are measured on, and their statistics."""
