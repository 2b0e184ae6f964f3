"""The wing that goes to the Hub: a classifier that explains itself, its pipeline and its HTML."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from .attribution_methods import list_attribution_methods
from .configuration_attrib import AttribConfig
from .html_attrib import HTMLFragment, render_html, render_page
from .modeling_attrib import AttribForSequenceClassification, AttribSequenceClassifierOutput
from .pipeline_attrib import AttribTextClassificationPipeline


AutoConfig.register(AttribConfig.model_type, AttribConfig)
AutoModel.register(AttribConfig, AttribForSequenceClassification)
AutoModelForSequenceClassification.register(AttribConfig, AttribForSequenceClassification)

__all__ = [
    "AttribConfig",
    "AttribForSequenceClassification",
    "AttribSequenceClassifierOutput",
    "AttribTextClassificationPipeline",
    "HTMLFragment",
    "list_attribution_methods",
    "render_html",
    "render_page",
]
