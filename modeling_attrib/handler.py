"""What Inference Endpoints run beside the weights: a request in, the pipeline's label, score and words out."""

from typing import Any

from transformers import pipeline


PARAMETERS = ("target", "contrast", "method", "top_k", "aggregation")


class EndpointHandler:
    """Answers the requests of an endpoint.

    Args:
        path: folder of the repository's files; the code that runs is theirs, and so is this file.
    """

    def __init__(self, path: str = "") -> None:
        self.pipeline = pipeline("text-classification", model=path, trust_remote_code=True)

    def __call__(self, data: dict[str, Any]) -> Any:
        """The pipeline's answer, which JSON can hold.

        Args:
            data: the request: `{"inputs": ..., "parameters": {...}}`. Inputs are a text, a pair
                `{"text": ..., "text_pair": ...}`, or a list of these; parameters are any of `PARAMETERS`.

        Raises:
            ValueError: for a request of another form, with what an endpoint answers; and as the pipeline.
        """
        if not isinstance(data, dict) or "inputs" not in data:
            raise ValueError('a request is written {"inputs": ..., "parameters": {...}}.')
        parameters = data.get("parameters") or {}
        # Others are not for strangers to choose: num_workers starts processes, batch_size fills the memory.
        unknown = sorted(set(parameters) - set(PARAMETERS))
        if unknown:
            raise ValueError(f"unknown parameter {unknown[0]!r}: there are {', '.join(PARAMETERS)}.")
        return self.pipeline(data["inputs"], **parameters)
