"""From a model folder to one graph that needs no autograd."""
