"""Reads an Atom feed from standard input as a feed reader would, and prints what it understood."""
import json
import sys

import feedparser

feed = feedparser.parse(sys.stdin.buffer.read())
print(json.dumps({
    "bozo": bool(feed.bozo),
    "version": feed.version,
    "title": feed.feed.title,
    "updated": feed.feed.updated,
    "entries": [
        {"id": e.id, "title": e.title, "updated": e.updated, "link": e.link, "content": e.content[0].value}
        for e in feed.entries
    ],
}))
