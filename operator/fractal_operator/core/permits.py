"""Whether an object may have what it names: held against the allow-list of the settings."""

from fractal_operator.core.allow import matches
from fractal_operator.core.plan import Policy


def adoptable(policy: Policy, namespace: str, arn: str) -> bool:
    """Whether an object of ``namespace`` may adopt the task ``arn``: only if a rule says so."""
    return any(matches(rule.adoptable, arn) for rule in policy.allow.of(namespace))
