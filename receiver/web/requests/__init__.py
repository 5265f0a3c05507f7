"""Reading and validating requests: bodies, forms and query parameters."""

from receiver.web.requests.alerts import (
    AlarmQuery,
    DeliveryQuery,
    alarm_query,
    asks_for_ended,
    delivery_query,
    report_end,
)
from receiver.web.requests.bodies import (
    MAX_FORM_BYTES,
    form_fields,
    form_pairs,
    is_plain_json,
    json_body,
)
from receiver.web.requests.events import (
    EventQuery,
    event_filter,
    event_query,
    period_query,
    timeline_query,
)
from receiver.web.requests.filters import (
    FILTER_NAMES,
    FacetQuery,
    ListQuery,
    badge_filter,
    connection_query,
    facet_query,
    list_query,
    wall_query,
)
from receiver.web.requests.forgetting import MAX_DAYS, ForgetQuery, asks_to_forget, forget_query
from receiver.web.requests.parameters import DEFAULT_LIMIT, MAX_LIMIT
from receiver.web.requests.tools import (
    CompareQuery,
    OfferedQuery,
    ToolQuery,
    compare_query,
    offered_query,
    tool_query,
)

__all__ = [
    "DEFAULT_LIMIT",
    "FILTER_NAMES",
    "MAX_DAYS",
    "MAX_FORM_BYTES",
    "MAX_LIMIT",
    "AlarmQuery",
    "CompareQuery",
    "DeliveryQuery",
    "EventQuery",
    "FacetQuery",
    "ForgetQuery",
    "ListQuery",
    "OfferedQuery",
    "ToolQuery",
    "alarm_query",
    "asks_for_ended",
    "asks_to_forget",
    "badge_filter",
    "compare_query",
    "connection_query",
    "delivery_query",
    "event_filter",
    "event_query",
    "facet_query",
    "forget_query",
    "form_fields",
    "form_pairs",
    "is_plain_json",
    "json_body",
    "list_query",
    "offered_query",
    "period_query",
    "report_end",
    "timeline_query",
    "tool_query",
    "wall_query",
]
