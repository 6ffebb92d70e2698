"""stub"""


async def request_payments(bootstrap: str) -> list[dict[str, object]]:
    raise NotImplementedError
