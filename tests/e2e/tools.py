"""What the documents' commands call besides kubectl, as far as the documents go: aws and psql.

``python tools.py aws ecs list-tasks --cluster apps --query taskArns --output text`` calls the
endpoint of AWS_ENDPOINT_URL; ``python tools.py psql URL -c QUERY`` prints the rows.
"""

import json
import sys
from itertools import takewhile
from typing import Any

import boto3
import jmespath  # type: ignore[import-untyped]
import sqlalchemy
from botocore import xform_name


def aws(arguments: list[str]) -> str:
    """The AWS CLI: a service, an operation, its parameters by their names there."""
    service, command, *rest = arguments
    make: Any = boto3.client
    client = make(service)
    operation = command.replace("-", "_")
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation])
    given: dict[str, list[str]] = {}
    while rest:
        name, *rest = rest
        assert name.startswith("--"), name
        given[name[2:]] = list(takewhile(lambda each: not each.startswith("--"), rest))
        rest = rest[len(given[name[2:]]) :]
    [query], [output] = given.pop("query"), given.pop("output")
    request: dict[str, Any] = {}
    for member, shape in model.input_shape.members.items():
        values = given.pop(xform_name(member, "-"), None)
        if values is not None:
            request[member] = values if shape.type_name == "list" else values[0]
    assert not given, f"{command} knows no {given}"
    found = jmespath.search(query, getattr(client, operation)(**request))
    return json.dumps(found, default=str) if output == "json" else "\n".join(_lines(found))


def _lines(found: Any) -> list[str]:
    if isinstance(found, list) and any(isinstance(each, list) for each in found):
        return [line for each in found for line in _lines(each)]
    return ["\t".join(map(str, found if isinstance(found, list) else [found]))]


def psql(arguments: list[str]) -> str:
    """psql URL -c QUERY."""
    url, option, query = arguments
    assert option == "-c"
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(query.replace("%", "%%")).all()
    engine.dispose()
    return "\n".join(" | ".join(map(str, row)) for row in rows)


if __name__ == "__main__":
    print({"aws": aws, "psql": psql}[sys.argv[1]](sys.argv[2:]))
