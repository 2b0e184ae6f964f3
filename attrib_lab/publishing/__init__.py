"""From a model folder to a Hub repository, proven first."""
