import sys

sys.path.insert(0, "/tmp/invcore")
from bench import bench


async def test_bench(writer):
    await bench(writer)
