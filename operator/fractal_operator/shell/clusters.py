"""The ECS clusters that objects name, and what the sweeps know of each.

An object names a cluster by name or ARN; two names of one cluster share one entry once ECS has told
its ARN. Entries are made when first needed, and dropped when no object names them any more, so that
names that never existed cost no calls for ever.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from fractal_models.observed import ClusterInfo, TaskArn
from fractal_operator.core.plan import ClusterView, Problem


@dataclass(slots=True, eq=False)
class Cluster:
    """One cluster. ``foreign`` are tasks that are not ours: listed, but described only once.

    ``wanted`` asks for a sweep at the next opportunity; ``waiting`` are the uids that wait for one.
    ``calls`` were made for the last sweep, and ``ring_at`` is when the next ring may begin.
    ``missed``: ECS does not know tasks that should be there, so that rare looks do not do.
    ``held``: tasks of ours may be there, since an object's attempt names it or it is the operator's
    own; any other that was never swept may as well be a name that somebody has made up.
    """

    region: str
    reference: str
    info: ClusterInfo | None = None
    known: bool = False
    problem: Problem | None = None
    account: str = ""
    swept_since: datetime | None = None
    swept_at: float | None = None
    failures: int = 0
    calls: int = 0
    ring_at: float = 0.0
    glanced_at: float = 0.0
    missed: bool = False
    paused: str = ""
    wanted: bool = True
    held: bool = False
    foreign: set[TaskArn] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)

    @property
    def arn(self) -> str:
        return self.info.arn if self.info else ""

    @property
    def active(self) -> bool:
        return self.info is not None and self.info.status == "ACTIVE"

    @property
    def there(self) -> bool:
        """Whether ECS answers for its tasks: of a deleted cluster it still tells that it was."""
        return self.info is not None and self.info.status != "INACTIVE"

    def view(self) -> ClusterView:
        return ClusterView(
            region=self.region,
            reference=self.reference,
            info=self.info,
            problem=self.problem,
            known=self.known,
            swept_since=self.swept_since,
            paused=self.paused,
            account=self.account,
        )


class Clusters:
    """Clusters by (region, name or ARN)."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, str], Cluster] = {}
        self._own: tuple[str, str] | None = None

    def own(self, region: str, reference: str) -> None:
        """Look at this cluster whether an object names it or not: launches go there by default."""
        self._own = (region, reference)
        self.of(region, reference, held=True)

    def of(self, region: str, reference: str, *, held: bool = False) -> Cluster:
        """The entry for a reference; a new one is swept soon. ``held`` is remembered."""
        key = (region, reference)
        if key not in self._by_name:
            self._by_name[key] = Cluster(region, reference)
        cluster = self._by_name[key]
        cluster.held = cluster.held or held
        return cluster

    def identified(self, cluster: Cluster, info: ClusterInfo) -> Cluster:
        """Note what ECS says a cluster is; the entry that all its names share from now on."""
        cluster.info, cluster.known, cluster.problem = info, True, None
        shared = self._by_name.setdefault((cluster.region, info.arn), cluster)
        if shared is not cluster:
            shared.info, shared.known, shared.problem = info, True, None
            shared.waiting |= cluster.waiting
            shared.wanted = shared.wanted or cluster.wanted
            shared.held = shared.held or cluster.held
            for key, each in self._by_name.items():
                if each is cluster:
                    self._by_name[key] = shared
        return shared

    def keep(self, names: Iterable[tuple[str, str]]) -> None:
        """Drop the clusters that none of ``names`` (region, name or ARN) leads to.

        But for the operator's own, and those that exist and may hold tasks of ours, of whatever
        object: orphans are found by the sweeps only.
        """
        used = {id(each) for name, each in self._by_name.items() if name == self._own}
        used |= {id(self._by_name[name]) for name in names if name in self._by_name}
        used |= {id(each) for each in self._by_name.values() if each.held and each.there}
        self._by_name = {key: each for key, each in self._by_name.items() if id(each) in used}

    def all(self) -> Iterable[Cluster]:
        """Every cluster once."""
        return tuple({id(each): each for each in self._by_name.values()}.values())
