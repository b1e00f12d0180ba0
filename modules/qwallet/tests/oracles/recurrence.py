"""Counts recurrence rules a second time: one JSON case a line in, one line of instants (seconds) out."""

import datetime
import json
import sys

from dateutil import rrule, tz

for line in sys.stdin:
    case = json.loads(line)
    zone = tz.gettz(case["zone"])
    assert zone is not None, case["zone"]
    start = datetime.datetime.fromisoformat(case["start"])
    end = start.replace(year=start.year + 10)
    instants = []
    for wall in rrule.rrulestr(case["rrule"], dtstart=start):
        if wall >= end:
            break
        # A time that the clocks leave out is meant as if they had not been set forward yet; of two, the first.
        at = int(tz.resolve_imaginary(wall.replace(tzinfo=zone)).timestamp())
        if not instants or instants[-1] < at:
            instants.append(at)
    print(json.dumps(instants))
