"""The Python client, synchronous and asyncio.

from charloom.client import Client

with Client("127.0.0.1:50051") as client:
for text in client.generate("ROMEO:", max_tokens=200, seed=1):
print(text, end="", flush=True)
"""

from charloom.client.attempts import GenerationStatus
from charloom.client.client import AsyncClient, Client, ModelInfo, NetworkInfo
from charloom.client.generation import AsyncGeneration, Generation
from charloom.client.piece import Alternative, Ending, Piece
from charloom.client.request_error import RequestError
from charloom.client.retries import RetryConfig
from charloom.client.series import AsyncSeries, Series, SeriesText
from charloom.connection import Tls
from charloom.score import Score

__all__ = [
    "Alternative",
    "AsyncClient",
    "AsyncGeneration",
    "AsyncSeries",
    "Client",
    "Ending",
    "Generation",
    "GenerationStatus",
    "ModelInfo",
    "NetworkInfo",
    "Piece",
    "RequestError",
    "RetryConfig",
    "Score",
    "Series",
    "SeriesText",
    "Tls",
]
