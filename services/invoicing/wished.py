"""The HTTP form of an answer to a wish."""

from starlette.responses import Response

from libs.common.http import json_response
from libs.common.problems import rejection_problem
from services.invoicing.asking import Outcome


def wish_response(outcome: Outcome) -> Response:
    """The body with its status, marked where it was given before. Raises Problem for a rejection."""
    headers = {"Idempotency-Replayed": "true"} if outcome.replayed else {}
    if outcome.rejection is not None:
        problem = rejection_problem(outcome.rejection, outcome.status)
        problem.headers.update(headers)
        raise problem
    return json_response(outcome.body, outcome.status, headers)
