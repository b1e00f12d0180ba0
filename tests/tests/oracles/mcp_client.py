"""Lists the tools of an MCP server and calls one, with a client library that knows nothing of us.

usage: mcp_client.py URL TOKEN TOOL ARGUMENTS-AS-JSON; prints {"tools": [...], "result": {...}}.
"""

import asyncio
import json
import sys

import httpx2
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main(url, token, tool, arguments):
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        async with streamable_http_client(url, http_client=http) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                listed = await session.list_tools()
                called = await session.call_tool(tool, json.loads(arguments))
                print(json.dumps({
                    "tools": [one.name for one in listed.tools],
                    "result": called.model_dump(mode="json"),
                }))


asyncio.run(main(*sys.argv[1:5]))
