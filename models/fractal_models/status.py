"""The status of a FractalContainer: what was attempted, what is observed, what people read.

Users can edit status, so reading it is lenient: :meth:`Status.from_json` never raises, and a part
that does not parse counts as absent (the rules of reconciling treat an absent part as unknown).
Texts are cut to their bounds when a model is built. Times are aware UTC, in whole seconds.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError

from fractal_models.api_types import LIST_ATOMIC, StatusModel, list_map, unique_by
from fractal_models.status_parts import (
    Attempt,
    Condition,
    Endpoint,
    Phase,
    PlacementStatus,
    Task,
    Termination,
    Text,
    Time,
    Word,
)


class Status(StatusModel):
    """What the operator last wrote about an object. Written by the operator only."""

    observed_generation: Annotated[
        int | None,
        Field(
            description="metadata.generation that the operator last acted on; -1: none yet.",
            strict=True,
            ge=-1,
            le=2**53 - 1,
        ),
    ] = None
    phase: Annotated[
        Phase | None, Field(description="the object in one word, for people; derived.")
    ] = None
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            description="Ready, Reconciling, Stalled and Synced.",
            max_length=16,
            json_schema_extra=list_map("type"),
        ),
        unique_by("type"),
    ] = ()
    attempt: Annotated[
        Attempt | None, Field(description="the latest launch; do not edit: tasks may be lost.")
    ] = None
    never_launched: Annotated[
        bool | None,
        Field(description="true: it is certain that no attempt was ever made.", strict=True),
    ] = None
    tasks: Annotated[
        tuple[Task, ...],
        Field(
            description="the object's ECS tasks: one, or two while one replaces the other.",
            max_length=2,
            json_schema_extra=list_map("attempt"),
        ),
        unique_by("attempt"),
    ] = ()
    placement: Annotated[
        PlacementStatus | None, Field(description="where the current task was placed.")
    ] = None
    endpoint: Annotated[
        Endpoint | None, Field(description="where the container is reached; set when Ready.")
    ] = None
    ready_at: Annotated[
        Time | None, Field(description="when the object last became Ready, RFC 3339, UTC.")
    ] = None
    will_stop_at: Annotated[
        Time | None,
        Field(
            description="when lifetimeSeconds will end the task, RFC 3339, UTC; before it runs, "
            "the earliest time."
        ),
    ] = None
    last_terminations: Annotated[
        tuple[Termination, ...],
        Field(
            description="how the latest tasks ended, at most 5.",
            max_length=5,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()
    last_handled_reconcile_at: Annotated[
        Word, Field(description="the fractal.co/reconcile-requested-at that was last handled.")
    ] = ""
    message: Annotated[Text, Field(description="the object in one sentence, for people.")] = ""
    installation: Annotated[
        Word,
        Field(
            description="which installation of the operator looks after the object; empty: none "
            "yet, or it has let go of it."
        ),
    ] = ""

    def to_json(self) -> dict[str, Any]:
        """The JSON object, without absent and empty fields; equal statuses give equal objects.

        Conditions are ordered by type and tasks by attempt, so that their order means nothing.
        """
        data = self.model_dump(mode="json", by_alias=True)
        data["conditions"].sort(key=lambda condition: condition["type"])
        data["tasks"].sort(key=lambda task: task["attempt"])
        pruned: dict[str, Any] = _pruned(data)
        return pruned

    @classmethod
    def from_json(cls, obj: Any) -> Self:
        """The status from the JSON value under ``status``; never raises.

        What does not parse counts as absent, whole: an item of a list, else a field of the status.
        """
        data = dict(obj) if isinstance(obj, Mapping) else {}
        while True:
            try:
                return cls.model_validate(data, by_alias=True, by_name=False)
            except ValidationError as error:
                data = _without_broken(data, error)


EMPTY: tuple[Any, ...] = (None, "", [], {})


def _pruned(value: Any) -> Any:
    match value:
        case dict():
            pruned = ((key, _pruned(item)) for key, item in value.items())
            return {key: item for key, item in pruned if item not in EMPTY}
        case list():
            return [_pruned(item) for item in value]
        case _:
            return value


def _without_broken(data: Mapping[str, Any], error: ValidationError) -> dict[str, Any]:
    """``data`` without the parts that ``error`` names; at least one, so that a loop ends."""
    places = [(*e["loc"], None)[:2] for e in error.errors(include_input=False)]
    fields = {field for field, item in places if not isinstance(item, int)}
    items = {place for place in places if isinstance(place[1], int)}
    return {
        key: [item for i, item in enumerate(value) if (key, i) not in items]
        if any(field == key for field, _ in items)
        else value
        for key, value in data.items()
        if key not in fields
    }
