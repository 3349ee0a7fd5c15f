"""A stand-in for the Kubernetes API, as small as kopf, kubernetes.aio and kubectl allow.

In memory, over plain HTTP, on loopback, without authentication: for laptops and tests only. It
holds no code of the operator; what it does was compared with real API servers (1.20 and 1.36) by
tests/contract/test_kube_api.py. Absent: server-side apply, CEL, OpenAPI schemas (`kubectl
explain`), protobuf bodies, admission and conversion webhooks, RBAC, garbage collection by owner.
"""

from fractal_dev.kube.server import KubeApi

__all__ = ["KubeApi"]
