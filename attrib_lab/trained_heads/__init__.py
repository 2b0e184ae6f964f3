"""From a finished classifier to a trained head that explains it."""
