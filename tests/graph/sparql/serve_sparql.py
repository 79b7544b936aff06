"""Serve an N-Triples file by rdflib on a free loopback port; prints the port. A process of its own, as servers are."""

import socket
import sys

import uvicorn
from rdflib import Dataset
from rdflib_endpoint import SparqlEndpoint

graph = Dataset(default_union=True)
with open(sys.argv[1], "rb") as facts:  # noqa: PTH123
    graph.parse(facts, format="nt")
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
app = SparqlEndpoint(graph=graph, path="/sparql")
uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off")).run(sockets=[listener])
