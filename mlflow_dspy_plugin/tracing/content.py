"""What values become in a span."""

import json

from mlflow.tracing.utils import TraceJSONEncoder

from mlflow_dspy_plugin.redaction import redact_named, redact_text
from mlflow_dspy_plugin.seams.programs import is_signature


class _Encoder(TraceJSONEncoder):
    def default(self, obj):
        return repr(obj) if is_signature(obj) else super().default(obj)


class Content:
    def __init__(self, redact=None, capture=True):
        pass

    def of_trace(self):
        return TraceContent()


class TraceContent:
    def dump(self, value, attach=None):
        if isinstance(value, dict):
            value = redact_named(value)
        return json.dumps(value, cls=_Encoder, ensure_ascii=False)

    def text(self, text):
        return redact_text(text)
