"""Lists what an MCP server offers and uses it, with a client library that knows nothing of us.

usage: mcp_client.py URL TOKEN TOOL ARGUMENTS-AS-JSON [TRANSACTION]; calls the tool, reads every resource that has a
place of its own, and with a transaction's id gets every prompt. Prints {"tools": [...], "result": {...},
"resources": {uri: text}, "templates": [...], "prompts": {name: messages}}.
"""

import asyncio
import json
import sys

import httpx2
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main(url, token, tool, arguments, transaction=None):
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        async with streamable_http_client(url, http_client=http) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                listed = await session.list_tools()
                called = await session.call_tool(tool, json.loads(arguments))
                resources = {}
                for one in (await session.list_resources()).resources:
                    read = await session.read_resource(one.uri)
                    resources[str(one.uri)] = read.contents[0].text
                templates = await session.list_resource_templates()
                prompts = {}
                for one in (await session.list_prompts()).prompts if transaction else []:
                    required = [argument.name for argument in one.arguments if argument.required]
                    got = await session.get_prompt(one.name, {name: transaction for name in required})
                    prompts[one.name] = [message.model_dump(mode="json") for message in got.messages]
                print(json.dumps({
                    "tools": [one.name for one in listed.tools],
                    "result": called.model_dump(mode="json"),
                    "resources": resources,
                    "templates": [str(one.uri_template) for one in templates.resource_templates],
                    "prompts": prompts,
                }))


asyncio.run(main(*sys.argv[1:]))
