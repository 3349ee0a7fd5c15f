"""The dashboard as Grafana's JSON (schemaVersion 39: Grafana 10.4 and later).

Deterministic: ids and places follow from the order of rows and panels. The uid is stable, so an
import replaces the dashboard and links to it stay good. The data source is a variable.
"""

import json
from collections.abc import Iterator
from typing import Any

from fractal_operator.observability import container_rows, event_parts, outside_rows, quota_parts
from fractal_operator.observability.panel import Panel, Query, Row

ROWS: tuple[Row, ...] = (
    container_rows.RUNNING,
    container_rows.LIVES,
    container_rows.RECONCILES,
    container_rows.QUEUE,
    outside_rows.AWS,
    quota_parts.QUOTAS,
    outside_rows.LOOKING,
    event_parts.EVENTS,
    outside_rows.KUBERNETES,
    outside_rows.DATABASE,
    outside_rows.PROCESS,
)

UID = "fractal-operator"
WIDTH = 24
_SIZES = {"stat": (6, 4), "timeseries": (8, 7)}
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_CHOSEN = 'job=~"$job",namespace=~"$namespace"'

Json = dict[str, Any]


def dashboard_json() -> str:
    """Return charts/fractal-operator/files/dashboard.json."""
    return json.dumps(_dashboard(), indent=1, ensure_ascii=False) + "\n"


def promql(query: Query) -> str:
    """A query with the dashboard's selection of installations in each selector."""
    return query.expr.replace("{", f"{{{_CHOSEN},").replace(",}", "}")


def _dashboard() -> Json:
    return {
        "uid": UID,
        "title": "Fractal operator",
        "description": "FractalContainers, and the operator that runs them on ECS. Made from code.",
        "tags": ["fractal", "kubernetes", "ecs"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [_datasource(), _namespace(), _job()]},
        "annotations": {"list": [_restarts()]},
        "links": [],
        "panels": list(_panels()),
    }


def _datasource() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource"} | {
        "query": "prometheus",
        "hide": 0,
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
    }


def _namespace() -> Json:
    """All matches what was scraped without that label, too."""
    return _variable("namespace", "Namespace", "label_values(fractal_build_info, namespace)", ".*")


def _job() -> Json:
    of_namespace = 'label_values(fractal_build_info{namespace=~"$namespace"}, job)'
    return _variable("job", "Installation", of_namespace, ".+")


def _variable(name: str, label: str, query: str, every: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": every,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _restarts() -> Json:
    return {
        "name": "Starts of the operator",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "orange",
        "expr": f"changes(process_start_time_seconds{{{_CHOSEN}}}[1m]) > 0"
        " and on (job, namespace, instance) fractal_build_info",
        "titleFormat": "started",
        "textFormat": "{{instance}}",
    }


def _panels() -> Iterator[Json]:
    """Rows and panels in order, from left to right, a new line when one is full."""
    number, y = 0, 0
    for row in ROWS:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
        } | {"gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}}
        x, y, line = 0, y + 1, 0
        for panel in row.panels:
            width, height = _SIZES[panel.kind]
            if x + width > WIDTH:
                x, y, line = 0, y + line, 0
            number += 1
            place = {"x": x, "y": y, "w": width, "h": height}
            yield {"id": number, **_panel(panel), "gridPos": place}
            x, line = x + width, max(line, height)
        y += line


def _panel(panel: Panel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "editorMode": "code",
                "expr": promql(query),
                "legendFormat": query.legend or panel.title,
                "range": True,
                "instant": False,
            }
            for number, query in enumerate(panel.queries)
        ],
    }


def _defaults(panel: Panel) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if panel.alarming is not None:
        steps.append({"color": "red", "value": panel.alarming})
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 0,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if panel.alarming is None else "dashed"},
    }
    return {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
        **({"custom": custom} if panel.kind == "timeseries" else {}),
    }


def _options(panel: Panel) -> Json:
    if panel.kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value",
            "graphMode": "area",
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
