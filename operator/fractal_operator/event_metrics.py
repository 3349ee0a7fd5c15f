"""Metrics of the task events that come by way of a queue."""

from fractal_operator.metric_families import Families

EVENT_RESULTS = ("news", "known", "foreign", "unreadable")


class EventMetrics(Families):
    """What came, how late, and whether it can be relied on."""

    def _events(self) -> None:
        self.events_healthy = self._gauge(
            "fractal_events_healthy",
            "1 while task events are relied on and sweeps are an audit; the label holds the "
            "queue's name. Absent without a queue, and in a standby.",
            "queue",
        )
        self.events_lag = self._gauge(
            "fractal_events_lag_seconds",
            "Age of the newest message of the last batch of task events; 0 of an empty queue.",
        )
        self.events = self._counter(
            "fractal_events_total",
            "Messages of the queue: news, known (the second one, or late), foreign (of another "
            "installation, service, cluster or account) or unreadable (left to the dead-letter "
            "queue).",
            "result",
        )
        for result in EVENT_RESULTS:
            self.events.labels(result)
        self.events_missed = self._counter(
            "fractal_events_missed_total",
            "Changes that a sweep has shown and no event told of within a minute.",
        )
        self.events_undeleted = self._counter(
            "fractal_events_undeleted_total", "Messages that SQS did not delete, and shows again."
        )
        self.events_crashes = self._counter(
            "fractal_events_crashes_total",
            "Batches that ended in an exception nobody foresaw: a bug. They come again.",
        )
