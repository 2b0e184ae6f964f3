"""The wing that stays: data, training, evaluation and publishing of attribution-returning classifiers."""

from . import attention_only  # noqa: F401  (its registration is what makes a folder of such a model loadable)
