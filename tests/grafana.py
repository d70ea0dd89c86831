"""What Grafana takes as a dashboard, as far as ours goes: a JSON schema of our own.

After the types that Grafana publishes for its dashboards and for the panels used here: the package
`@grafana/schema` 13.2, its classic model, which Grafana 10 and newer import. What is not named here
is refused, and so is a misspelt option, which Grafana ignores without a word.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
YES: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
MOST: Schema = {"type": "integer", "minimum": 0, "maximum": 100}
"""Of an opacity."""


def one_of(*values: str | int) -> Schema:
    return {"enum": list(values)}


def every(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def these(optional: dict[str, Schema] | None = None, /, **required: Schema) -> Schema:
    """An object with just these."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


SOURCE = these(type=TEXT, uid=TEXT)
PLACE = these(
    h={"type": "integer", "minimum": 1},
    w={"type": "integer", "minimum": 1, "maximum": 24},
    x={"type": "integer", "minimum": 0, "maximum": 23},
    y=COUNT,
)

# ------------------------------------------------------------------ what is shown of a series

COLOR = these(mode=one_of("thresholds", "palette-classic", "palette-classic-by-name", "fixed"))
THRESHOLDS = these(
    mode=one_of("absolute", "percentage"),
    # the first one has no value: it begins at minus infinity
    steps={
        "type": "array",
        "prefixItems": [these(color=TEXT, value={"type": "null"})],
        "items": these(color=TEXT, value=NUMBER),
        "minItems": 1,
    },
)
RESULT = these({"index": COUNT, "text": TEXT, "color": TEXT})
MAPPING = these(
    type=one_of("value"),
    options={"type": "object", "additionalProperties": RESULT, "minProperties": 1},
)


def field(custom: Schema | None) -> Schema:
    """`fieldConfig`, with what a kind of panel has of its own."""
    own = {"custom": custom} if custom else {}
    optional = {"unit": TEXT, "min": NUMBER, "max": NUMBER, "decimals": COUNT}
    defaults = these(optional, color=COLOR, mappings=every(MAPPING), thresholds=THRESHOLDS, **own)
    return these(defaults=defaults, overrides={"type": "array", "maxItems": 0})


LINES = these(
    axisPlacement=one_of("auto", "bottom", "hidden", "left", "right", "top"),
    drawStyle=one_of("bars", "line", "points"),
    fillOpacity=MOST,
    lineInterpolation=one_of("linear", "smooth", "stepAfter", "stepBefore"),
    lineWidth=COUNT,
    showPoints=one_of("always", "auto", "never"),
    spanNulls=YES,
    stacking=these(group=TEXT, mode=one_of("none", "normal", "percent")),
    thresholdsStyle=these(mode=one_of("area", "dashed", "line", "line+area", "off")),
)
BANDS = these(fillOpacity=MOST, lineWidth=COUNT)

# ------------------------------------------------------------------ panels

LEGEND = these(
    calcs=every(TEXT),
    displayMode=one_of("hidden", "list", "table"),
    placement=one_of("bottom", "right"),
    showLegend=YES,
)
TOOLTIP = these(mode=one_of("multi", "none", "single"), sort=one_of("asc", "desc", "none"))
QUERY = these(
    {"instant": YES},
    datasource=SOURCE,
    editorMode=one_of("builder", "code"),
    expr={"type": "string", "minLength": 1},
    legendFormat=TEXT,
    range=YES,
    refId={"type": "string", "pattern": "^[A-Z]$"},
)


def panel(kind: str, custom: Schema | None, **options: Schema) -> Schema:
    return these(
        type=one_of(kind),
        id={"type": "integer", "minimum": 1},
        title=TEXT,
        description=TEXT,
        gridPos=PLACE,
        datasource=SOURCE,
        fieldConfig=field(custom),
        options=these(**options),
        targets={"type": "array", "items": QUERY, "minItems": 1},
    )


PANELS: dict[str, Schema] = {
    "row": these(
        type=one_of("row"),
        id={"type": "integer", "minimum": 1},
        title=TEXT,
        gridPos=PLACE,
        collapsed=YES,
        panels={"type": "array", "maxItems": 0},
    ),
    "stat": panel(
        "stat",
        None,
        colorMode=one_of("background", "background_solid", "none", "value"),
        graphMode=one_of("area", "line", "none"),
        justifyMode=one_of("auto", "center"),
        orientation=one_of("auto", "horizontal", "vertical"),
        percentChangeColorMode=one_of("inverted", "same_as_value", "standard"),
        reduceOptions=these(calcs=every(TEXT), fields=TEXT, values=YES),
        showPercentChange=YES,
        textMode=one_of("auto", "name", "none", "value", "value_and_name"),
        wideLayout=YES,
    ),
    "timeseries": panel("timeseries", LINES, legend=LEGEND, tooltip=TOOLTIP),
    "state-timeline": panel(
        "state-timeline",
        BANDS,
        alignValue=one_of("center", "left", "right"),
        legend=LEGEND,
        mergeValues=YES,
        rowHeight={"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        showValue=one_of("always", "auto", "never"),
        tooltip=TOOLTIP,
    ),
}
"""By `type`."""

# ------------------------------------------------------------------ the whole

CHOSEN = these(
    {"selected": YES},
    text={"anyOf": [TEXT, every(TEXT)]},
    value={"anyOf": [TEXT, every(TEXT)]},
)
VARIABLE = these(
    {"allValue": TEXT, "current": CHOSEN, "datasource": SOURCE, "sort": one_of(*range(9))},
    name={"type": "string", "pattern": r"^\w+$"},
    label=TEXT,
    type=one_of("datasource", "query"),
    query={"anyOf": [TEXT, these(query=TEXT, refId=TEXT)]},
    hide=one_of(0, 1, 2, 3),
    includeAll=YES,
    multi=YES,
    options={"type": "array", "maxItems": 0},
    refresh=one_of(0, 1, 2),
    regex=TEXT,
    skipUrlSync=YES,
)
NOTE = these(
    {
        "builtIn": one_of(0, 1),
        "hide": YES,
        "type": TEXT,
        # of Prometheus' own editor of annotations
        "expr": TEXT,
        "tagKeys": TEXT,
        "titleFormat": TEXT,
    },
    name=TEXT,
    datasource=SOURCE,
    enable=YES,
    iconColor=TEXT,
)

DASHBOARD: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **these(
        annotations=these(list=every(NOTE)),
        description=TEXT,
        editable=YES,
        fiscalYearStartMonth={"type": "integer", "minimum": 0, "maximum": 11},
        graphTooltip=one_of(0, 1, 2),
        links={"type": "array", "maxItems": 0},
        liveNow=YES,
        # each by `PANELS`: of one schema among several no error says what is wrong
        panels=every(
            {"type": "object", "required": ["type"], "properties": {"type": one_of(*PANELS)}}
        ),
        refresh=TEXT,
        schemaVersion=WHOLE,
        tags=every(TEXT),
        templating=these(list=every(VARIABLE)),
        time=these(**{"from": TEXT, "to": TEXT}),
        timepicker=these(),
        timezone=TEXT,
        title=TEXT,
        uid={"type": "string", "maxLength": 40},
        version=WHOLE,
        weekStart=TEXT,
    ),
}
