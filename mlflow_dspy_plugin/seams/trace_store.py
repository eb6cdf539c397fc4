"""How ended traces are written to MLflow's tracking store, in as few calls as the store takes, and why it refuses."""

import contextlib
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from mlflow.entities import TraceInfo
from mlflow.exceptions import MlflowException
from mlflow.tracing.client import TracingClient
from mlflow.tracing.constant import TraceTagKey
from mlflow.tracing.export.mlflow_v3 import MlflowV3SpanExporter
from mlflow.tracing.export.utils import try_link_prompts_to_trace
from mlflow.tracing.utils import add_size_stats_to_trace_metadata

from mlflow_dspy_plugin.seams.ended_traces import Ended, attachments_of
from mlflow_dspy_plugin.seams.prices import keep_unpriced
from mlflow_dspy_plugin.seams.refusals import Kind, Refusal, at_once, is_a_server, probe, refusal_of

# Releases before write the spans to a file as well, and read them from there.
_SPANS_MAY_STAND_IN_THE_STORE = hasattr(MlflowV3SpanExporter, "_should_log_spans_to_artifacts")
_IN_THE_STORE = "TRACKING_STORE"


class TraceStore:
    """The tracking store of one client, as a place for whole traces."""

    def __init__(self, client: TracingClient) -> None:
        self._client = client
        # What the store does with spans is seen at its first trace.
        self._takes_spans: bool | None = None
        self._spans_to_files = not _SPANS_MAY_STAND_IN_THE_STORE
        self._takes_many = True

    @property
    def uri(self) -> str:
        """Its tracking URI."""
        return self._client.tracking_uri

    def probe(self) -> Refusal | None:
        """Ask a server whether it is there, without MLflow's minutes of retries."""
        return probe(self._client.store)

    def write(self, traces: Sequence[Ended]) -> list[Refusal | None]:
        """Write traces; writing one again changes nothing.

        Returns:
            For each of them why it was not written, or None.
        """
        refusals: list[Refusal | None] = []
        while len(refusals) < len(traces):
            group = self._next_group(traces[len(refusals) :])
            with _workspace(group[0].workspace), at_once():
                refusals += self._write_group(group)
            if _stops(refusals[-1]):
                refusals += [refusals[-1]] * (len(traces) - len(refusals))
        return refusals

    def _next_group(self, traces: Sequence[Ended]) -> list[Ended]:
        """The first traces that can be written together."""
        if self._takes_spans is None:
            return [traces[0]]
        _, group = next(groupby(traces, key=lambda each: (each.workspace, each.experiment_id)))
        return list(group)

    def _write_group(self, traces: Sequence[Ended]) -> list[Refusal | None]:
        """Write traces of one experiment."""
        refusals: list[Refusal | None] = [None] * len(traces)
        learning = self._takes_spans is None
        if learning:
            # As MLflow's own exporter does. The other way round is cheaper, as the store then has not to merge, but
            # does not show where the store keeps spans.
            refusals = self._write_spans(traces, refusals)
        infos = self._start(traces, refusals)
        if learning:
            self._learn(infos)
        else:
            refusals = self._write_spans(traces, refusals)
        for place, (trace, info) in enumerate(zip(traces, infos, strict=True)):
            if refusals[place] is None and info is not None:
                refusals[place] = self._attempt_beside(trace, info)
        return refusals

    def _start(self, traces: Sequence[Ended], refusals: list[Refusal | None]) -> list[TraceInfo | None]:
        """Write what is known of each trace but its spans; what is refused is noted in `refusals`."""
        infos: list[TraceInfo | None] = []
        for place, trace in enumerate(traces):
            info: list[TraceInfo] = []
            if refusals[place] is None and not trace.partial:
                refusals[place] = self._attempt(lambda trace=trace, info=info: info.append(self._start_one(trace)))
            infos.append(info[0] if info else None)
            if _stops(refusals[place]):
                _refuse_rest(refusals, place)
        return infos

    def _start_one(self, ended: Ended) -> TraceInfo:
        trace = ended.whole()
        add_size_stats_to_trace_metadata(trace)
        ended.name_assessments()
        return self._client.start_trace(trace.info)

    def _learn(self, infos: Sequence[TraceInfo | None]) -> None:
        for info in infos:
            if info is not None and _SPANS_MAY_STAND_IN_THE_STORE:
                self._spans_to_files = info.tags.get(TraceTagKey.SPANS_LOCATION) != _IN_THE_STORE

    def _write_spans(self, traces: Sequence[Ended], refusals: list[Refusal | None]) -> list[Refusal | None]:
        """Write the spans of the traces that have no refusal yet; the refusals after that."""
        refusals = list(refusals)
        places = [place for place, refusal in enumerate(refusals) if refusal is None]
        if not places or self._takes_spans is False:
            return refusals
        refusal = None
        if self._takes_many or len(places) == 1:
            refusal = self._attempt(lambda: self._log_spans([traces[place] for place in places]))
            if refusal is None:
                return refusals
        if len(places) == 1 or _stops(refusal):
            for place in places:
                refusals[place] = refusal
            return refusals
        for place in places:
            refusals[place] = self._attempt(lambda place=place: self._log_spans([traces[place]]))
            if _stops(refusals[place]):
                _refuse_rest(refusals, place)
                break
        else:
            # MLflow < 3.11 or so takes the spans of one trace in a call.
            self._takes_many = self._takes_many and any(refusals[place] for place in places)
        return refusals

    def _log_spans(self, traces: Sequence[Ended]) -> None:
        spans = [span for trace in traces for span in trace.whole().data.spans]
        if not is_a_server(self._client.store):
            for span in spans:
                keep_unpriced(span)
        try:
            self._client.log_spans(traces[0].experiment_id, spans)
            self._takes_spans = True
        except NotImplementedError as error:
            if "could not identify" in str(error):
                # MLflow remembers for ever that a server did not tell its version.
                type(self._client.store)._get_server_version.cache_clear()
                raise MlflowException(str(error)) from error
            self._takes_spans = False
        except MlflowException as error:
            if "span logging is not supported" not in str(error):
                raise
            self._takes_spans = False

    def _attempt_beside(self, trace: Ended, info: TraceInfo) -> Refusal | None:
        refusal = self._attempt(lambda: self._write_beside(trace, info))
        # Where files cannot be written at all, MLflow's own exporter has the trace without them too.
        return refusal if refusal is None or _stops(refusal) else Refusal(Kind.INCOMPLETE, refusal.error)

    def _write_beside(self, ended: Ended, info: TraceInfo) -> None:
        """What MLflow keeps beside the rows of a trace."""
        trace = ended.whole()
        if self._spans_to_files or not self._takes_spans:
            self._client._upload_trace_data(info, trace.data)
        if attachments := attachments_of(trace):
            self._client._upload_attachments(info, attachments)
        # It says itself what it cannot do; MLflow starts a thread for it.
        try_link_prompts_to_trace(self._client, ended.trace_id, ended.prompts, synchronous=True)

    def _attempt(self, write: Callable[[], Any]) -> Refusal | None:
        try:
            write()
        except Exception as error:
            return refusal_of(self._client.store, error)
        return None


def _stops(refusal: Refusal | None) -> bool:
    """Whether there is no use in trying other traces now."""
    return refusal is not None and refusal.kind.is_of_the_store


def _refuse_rest(refusals: list[Refusal | None], place: int) -> None:
    for later in range(place + 1, len(refusals)):
        refusals[later] = refusals[later] or refusals[place]


def _workspace(name: str | None) -> contextlib.AbstractContextManager:
    if name is None:
        return contextlib.nullcontext()
    # Only releases that have workspaces give a trace one.
    from mlflow.utils.workspace_context import ServerWorkspaceContext

    return ServerWorkspaceContext(name)
