"""What the Kubernetes API is told and asked about, as frozen values; nothing here does I/O."""

from dataclasses import dataclass

GROUP = "fractal.co"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "FractalContainer"
PLURAL = "fractalcontainers"


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Which FractalContainer: a name in a namespace (the uid tells namesakes apart)."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class KubeEvent:
    """A Kubernetes Event about one object. ``name_suffix`` makes a repeated post a no-op.

    ``type`` is Normal or Warning. ``name_suffix`` is part of a DNS name (lower-case letters,
    digits, ``-`` and ``.``) and should hold a piece of the object's uid, so that a namesake created
    within the life of the Event (one hour by default) gets Events of its own.
    """

    type: str
    reason: str
    message: str
    name_suffix: str
