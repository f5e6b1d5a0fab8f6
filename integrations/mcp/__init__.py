"""Any MCP server as a source: an allow-list of read-only tools with fixed arguments. Nobody chooses a tool at run time.

stdio.py    a server of one's own as a child process, without our environment
tools.py    what was approved: templates, hashes, why a tool is refused
source.py   the source
"""

from integrations.mcp.source import Mcp, Offered, Server
from integrations.mcp.tools import VARIABLES, ToolRule, approve, fingerprint

__all__ = ["VARIABLES", "Mcp", "Offered", "Server", "ToolRule", "approve", "fingerprint"]
