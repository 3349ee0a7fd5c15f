"""A stand-in for AWS ECS (and the corner of EC2 around it) on the loopback interface.

It is moto's server for clusters, task definitions and EC2, with an engine of its own in front for
everything that concerns tasks, because moto 5.2.5 ignores client tokens, knows no task lifecycle
and answers unknown tasks differently from AWS. It is a tool for laptops and tests, not AWS:
where AWS's behaviour is undocumented the stand-in picks the harsher reading.

:class:`fractal_dev.ecs.server.EcsStandIn` runs it inside a process, ``python -m fractal_dev.ecs``
as one of its own, and :class:`fractal_dev.ecs.client.EcsControl` drives its control API.
"""
