"""The wing that stays: data, training, evaluation and publishing of attribution-returning classifiers."""
