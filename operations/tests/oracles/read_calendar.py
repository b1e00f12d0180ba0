"""Reads a calendar from standard input as a calendar program would, and prints what it understood."""
import json
import sys

from icalendar import Calendar

calendar = Calendar.from_ical(sys.stdin.buffer.read())
events = []
for event in calendar.walk("VEVENT"):
    events.append({
        "uid": str(event["UID"]),
        "summary": str(event["SUMMARY"]),
        "description": str(event["DESCRIPTION"]),
        "start": event.decoded("DTSTART").isoformat(),
        "end": event.decoded("DTEND").isoformat(),
        "status": str(event["STATUS"]),
        "errors": [str(e) for e in event.errors],
    })
print(json.dumps({"version": str(calendar["VERSION"]), "errors": [str(e) for e in calendar.errors], "events": events}))
