"""The little of EC2 and STS that goes with tasks, in AWS's query protocol (forms in, XML out)."""

from collections.abc import Iterable, Mapping
from xml.sax.saxutils import escape

from benchmarks.ecs_fake.asked import SECURITY_GROUP, SUBNET
from benchmarks.ecs_fake.task import Task
from benchmarks.ecs_fake.world import ACCOUNT, World

Form = Mapping[str, str]


class NotThere(Exception):
    """EC2's error for an interface that does not exist; its text is XML."""


def answer(world: World, action: str, form: Form) -> str:
    """The XML of an answer.

    Raises:
        LookupError: no such action.
        NotThere: the interface that is asked for by its id is gone.
    """
    match action:
        case "GetCallerIdentity":
            arn = f"arn:aws:iam::{ACCOUNT}:user/bench"
            inner = f"<Arn>{arn}</Arn><UserId>bench</UserId><Account>{ACCOUNT}</Account>"
            result = f"<GetCallerIdentityResult>{inner}</GetCallerIdentityResult>"
            return f"<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>"
        case "DescribeSubnets":
            return _set(action, "subnetSet", [f"<subnetId>{SUBNET}</subnetId>"])
        case "DescribeSecurityGroups":
            return _set(action, "securityGroupInfo", [f"<groupId>{SECURITY_GROUP}</groupId>"])
        case "DescribeNetworkInterfaces":
            world.settle()
            return _set(action, "networkInterfaceSet", map(_interface, _asked(world, form)))
        case _:
            raise LookupError(f"the fake does not know {action}")


def _asked(world: World, form: Form) -> Iterable[Task]:
    ids = [value for name, value in form.items() if name.startswith("NetworkInterfaceId.")]
    for missing in (each for each in ids if each not in world.interfaces):
        code = "InvalidNetworkInterfaceID.NotFound"
        told = f"<Code>{code}</Code><Message>{escape(missing)} does not exist</Message>"
        raise NotThere(f"<Response><Errors><Error>{told}</Error></Errors></Response>")
    ids += [value for name, value in form.items() if ".Value." in name]
    return [world.interfaces[each] for each in ids if each in world.interfaces]


def _interface(task: Task) -> str:
    told = f"<networkInterfaceId>{task.eni}</networkInterfaceId>"
    told += f"<subnetId>{task.vpc['subnets'][0]}</subnetId>"
    told += f"<privateIpAddress>{task.private_ip}</privateIpAddress>"
    if task.vpc.get("assignPublicIp") == "ENABLED":
        public = "52" + task.private_ip.removeprefix("10")
        told += f"<association><publicIp>{public}</publicIp></association>"
    return told


def _set(action: str, name: str, items: Iterable[str]) -> str:
    told = "".join(f"<item>{each}</item>" for each in items)
    return f"<{action}Response><{name}>{told}</{name}></{action}Response>"
