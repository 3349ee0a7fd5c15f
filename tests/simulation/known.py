"""Bugs of the product that runs may show and yet count as good; ``--strict`` lets them fail."""

from collections.abc import Mapping

KNOWN_OPEN: Mapping[str, str] = {
    "adoption": "a deletion, a second process or a stale sight while a task is being adopted: "
    "runs have no adoptions",
    "audit by a stale list": "the auditor closes the row of an object that a stale list does not "
    "show, for good",
    "app row behind another clock": "a row written by a process whose clock is behind the last "
    "one's is refused as older, and not offered again",
    "task hidden when the status was wiped": "an object deleted after its status was wiped goes "
    "after one sweep, which does not show a task launched less than 300 s before",
    "row of a restored object": "after a restore of etcd an object's generation is lower than its "
    "row's, which therefore never changes again",
    "row of an ended attempt": "nobody closes the row of a task whose end the recorder's process "
    "did not live to write, and that ECS does not list in the first sweep",
}
