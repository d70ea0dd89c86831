"""Alarms and dashboards."""

from __future__ import annotations

from typing import Any

from lab.resources.base import (
    Context,
    Handler,
    Made,
    Name,
    Properties,
    given,
    gone_is_fine,
    retag,
    tag_list,
)

_GONE = "ResourceNotFound"

_PLAIN = {
    "ActionsEnabled": "actionsEnabled",
    "AlarmActions": "alarmActions",
    "AlarmDescription": "alarmDescription",
    "ComparisonOperator": "comparisonOperator",
    "DatapointsToAlarm": "datapointsToAlarm",
    "EvaluationPeriods": "evaluationPeriods",
    "InsufficientDataActions": "insufficientDataActions",
    "MetricName": "metricName",
    "Namespace": "namespace",
    "OKActions": "okActions",
    "Period": "period",
    "Statistic": "statistic",
    "Threshold": "threshold",
    "TreatMissingData": "treatMissingData",
    "Unit": "unit",
}
"""The API's names and the provider's, of what is handed on as it is."""
_WHOLE = ("DatapointsToAlarm", "EvaluationPeriods", "Period")


def _cloudwatch(context: Context) -> Any:
    return context.client("cloudwatch")


def _arn(context: Context, name: str) -> str:
    return context.arn("cloudwatch", f"alarm:{name}")


def _whole(arguments: dict[str, Any]) -> dict[str, Any]:
    """The engine's numbers are all floats; the API takes whole ones in these places."""
    return {key: int(value) if key in _WHOLE else value for key, value in arguments.items()}


def _dimensions(given: dict[str, str] | None) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in sorted((given or {}).items())]


def _query(query: Properties) -> dict[str, Any]:
    metric = query.get("metric")
    data = given(query, Id="id", Expression="expression", Label="label")
    # the provider's default: only what says so is the alarm's
    data["ReturnData"] = bool(query.get("returnData", False))
    if metric:
        data["MetricStat"] = {
            "Metric": {
                **given(metric, Namespace="namespace", MetricName="metricName"),
                "Dimensions": _dimensions(metric.get("dimensions")),
            },
            "Period": int(metric["period"]),
            **given(metric, Stat="stat", Unit="unit"),
        }
    return data


def _put_alarm(context: Context, inputs: Properties, **more: Any) -> None:
    arguments = _whole(given(inputs, **_PLAIN))
    if "metricQueries" in inputs:
        arguments["Metrics"] = [_query(query) for query in inputs["metricQueries"]]
    else:
        arguments["Dimensions"] = _dimensions(inputs.get("dimensions"))
    _cloudwatch(context).put_metric_alarm(AlarmName=inputs["name"], **arguments, **more)


def _create_alarm(context: Context, inputs: Properties) -> Made:
    _put_alarm(context, inputs, Tags=tag_list(inputs.get("tagsAll")))
    return inputs["name"], {"arn": _arn(context, inputs["name"])}


def _update_alarm(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    _put_alarm(context, new)  # which takes no tags of an alarm that is there
    client, arn = _cloudwatch(context), _arn(context, id_)
    retag(old, new, client.tag_resource, client.untag_resource, ResourceARN=arn)
    return {}


def _delete_alarm(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        _cloudwatch(context).delete_alarms(AlarmNames=[id_])


def _alarms(context: Context, inputs: Properties) -> list[str]:
    found = _cloudwatch(context).describe_alarms(AlarmNames=[inputs["name"]])["MetricAlarms"]
    return [one["AlarmName"] for one in found]


def _put_dashboard(context: Context, inputs: Properties) -> Made:
    name = inputs["dashboardName"]
    _cloudwatch(context).put_dashboard(DashboardName=name, DashboardBody=inputs["dashboardBody"])
    return name, {"dashboardArn": f"arn:aws:cloudwatch::{context.account}:dashboard/{name}"}


def _update_dashboard(context: Context, _: str, __: Properties, new: Properties) -> Properties:
    return _put_dashboard(context, new)[1]


def _delete_dashboard(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        _cloudwatch(context).delete_dashboards(DashboardNames=[id_])


def _dashboards(context: Context, inputs: Properties) -> list[str]:
    wanted = inputs["dashboardName"]
    found = _cloudwatch(context).list_dashboards(DashboardNamePrefix=wanted)["DashboardEntries"]
    return [one["DashboardName"] for one in found if one["DashboardName"] == wanted]


HANDLERS = {
    "aws:cloudwatch/metricAlarm:MetricAlarm": Handler(
        create=_create_alarm,
        update=_update_alarm,
        delete=_delete_alarm,
        properties=frozenset({*_PLAIN.values(), "dimensions", "metricQueries"}),
        replaces=frozenset({"name"}),
        name=Name(),
        tagged=True,
        leftovers=_alarms,
    ),
    "aws:cloudwatch/dashboard:Dashboard": Handler(
        create=_put_dashboard,
        update=_update_dashboard,
        delete=_delete_dashboard,
        properties=frozenset({"dashboardName", "dashboardBody"}),
        replaces=frozenset({"dashboardName"}),
        leftovers=_dashboards,
    ),
}
