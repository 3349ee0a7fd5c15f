"""Alerts about what the operator is there for: containers that start, run and go."""

from fractal_operator.observability.alert import Alert, share

OBJECTIVE = 0.99
START_SECONDS = 180
"""The objective of starts: 99 % are Ready within 180 s of their first launch call."""
FEW_STARTS = 10
"""So few in the time looked at tell nothing."""

_CAPACITY = '{stop_code=~"CapacityUnavailable|ProvisioningTimeout|RungTimeout"}'
_SPOT = 'fractal_container_terminations_total{stop_code="SpotInterruption"}'


def _burn(times: float, window: str) -> str:
    """Whether the budget of slow starts burns ``times`` as fast as it may (SRE workbook, ch. 5)."""
    name = "fractal_container_start_duration_seconds"
    return (
        f'1 - sum by (job, namespace) (rate({name}_bucket{{le="{START_SECONDS}.0"}}[{window}]))\n'
        f"  / sum by (job, namespace) (rate({name}_count[{window}]))"
        f" > {times * (1 - OBJECTIVE):g}\n"
        f"and sum by (job, namespace) (increase({name}_count[{window}])) > {FEW_STARTS}"
    )


CONTAINERS: tuple[Alert, ...] = (
    Alert(
        "FractalContainersStalled",
        "warning",
        "5m",
        'max by (job, namespace) (fractal_container_conditions{type="Stalled",status="True"}) > 0',
        "FractalContainers need somebody's help.",
        "{{ $value }} objects are Stalled: they wait for a change of their spec or surroundings.",
    ),
    Alert(
        "FractalDeletionStuck",
        "warning",
        "1m",
        "max by (job, namespace) (fractal_oldest_deletion_seconds) > 900",
        "A FractalContainer cannot be deleted.",
        "An object was deleted {{ $value | humanizeDuration }} ago and is still there.",
    ),
    Alert(
        "FractalLaunchFailures",
        "warning",
        "10m",
        share(
            'fractal_launches_total{result=~"failed|rejected|unknown"}',
            "fractal_launches_total",
            "10m",
            0.2,
        ),
        "Many launches fail.",
        "{{ $value | humanizePercentage }} of the RunTask calls"
        " of {{ $labels.namespace }}/{{ $labels.job }} fail.",
    ),
    Alert(
        "FractalCapacityUnavailable",
        "warning",
        "10m",
        share(
            f"fractal_container_terminations_total{_CAPACITY}",
            "fractal_launches_total",
            "10m",
            0.05,
        ),
        "AWS has no capacity for launches.",
        "{{ $value | humanizePercentage }} of the launches found no capacity.",
    ),
    Alert(
        "FractalStartLatency",
        "warning",
        "5m",
        f"({_burn(14.4, '1h')})\nor\n({_burn(6, '6h')})",
        "Containers take too long to become Ready.",
        "{{ $value | humanizePercentage }} of the starts took more than 3 minutes.",
    ),
    Alert(
        "FractalDuplicateTask",
        "critical",
        "",
        "max by (job, namespace, instance) (fractal_duplicate_tasks_total) > 0",
        "Two live tasks were seen for one attempt of one object.",
        "{{ $value }} second tasks since {{ $labels.instance }} started. This must never happen.",
    ),
    Alert(
        "FractalLaunchesPaused",
        "critical",
        "1m",
        "max by (job, namespace) (fractal_launches_paused) > 0",
        "Launches are paused: too many tasks vanished at once.",
        "{{ $value }} ECS clusters no longer show many of the tasks that ran there.",
    ),
    Alert(
        "FractalOrphans",
        "warning",
        "30m",
        "sum by (job, namespace) (max by (job, namespace, kind)"
        ' (fractal_orphans{kind=~"task|unproven"})) > 0',
        "ECS tasks run for FractalContainers that are gone.",
        "{{ $value }} tasks run without an object, and nobody stops them.",
    ),
    Alert(
        "FractalReaperHeld",
        "critical",
        "10m",
        "max by (job, namespace) (fractal_reaper_held) > 0",
        "Too many tasks have no FractalContainer to be stopped.",
        "Objects may be missing that should be there: none of their tasks is stopped.",
    ),
    Alert(
        "FractalSelectedTwice",
        "warning",
        "30m",
        "max by (job, namespace) (fractal_objects_elsewhere) > 0",
        "FractalContainers are selected here that another installation looks after.",
        "{{ $value }} objects are selected twice, or their installation is gone.",
    ),
    Alert(
        "FractalSpotInterruptionStorm",
        "warning",
        "",
        f"sum by (job, namespace) (increase({_SPOT}[10m])) > 5\n"
        f"and sum by (job, namespace) (increase({_SPOT}[10m]))\n"
        '  > 0.1 * max by (job, namespace) (fractal_containers{phase="Running"})',
        "AWS reclaims much Spot capacity.",
        "{{ $value | humanize }} tasks were interrupted in 10 minutes, more than a tenth of all.",
    ),
)
