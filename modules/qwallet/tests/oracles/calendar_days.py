"""Says when the days of a time zone begin: one JSON case a line in, one line of instants (seconds) out.

By the standard library's zones: of all the instants at which clocks show a date, the first. No midnight is computed.
"""

import datetime
import json
import sys
import zoneinfo

UTC = datetime.timezone.utc

for line in sys.stdin:
    case = json.loads(line)
    zone = zoneinfo.ZoneInfo(case["zone"])
    first = datetime.date.fromisoformat(case["from"])
    at = datetime.datetime.combine(first, datetime.time(), UTC) - datetime.timedelta(days=1)

    def shown(instant):
        return instant.astimezone(zone).date()

    # A date has begun once clocks have shown it, whatever they show after they went back.
    latest, starts, begun = shown(at), [], first
    step = datetime.timedelta(minutes=15)
    end = at + datetime.timedelta(days=case["days"] + 2)
    while at < end:
        after = at + step
        # Clocks that were set back at 00:01 showed the date for a minute.
        for instant in (after - datetime.timedelta(minutes=14, seconds=30), after):
            if shown(instant) > latest:
                low, high = int(at.timestamp()), int(instant.timestamp())
                while high - low > 1:
                    middle = (low + high) // 2
                    if shown(datetime.datetime.fromtimestamp(middle, UTC)) > latest:
                        high = middle
                    else:
                        low = middle
                latest = shown(datetime.datetime.fromtimestamp(high, UTC))
                if latest >= begun:
                    starts.append(high)
        at = after
    print(json.dumps(starts))
