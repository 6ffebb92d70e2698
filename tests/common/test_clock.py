"""Ids that are derived: the same for everybody who derives them."""

from uuid import uuid5

from libs.common.clock import name_based_id, new_id


def test_a_name_based_id_is_that_of_the_standard_library() -> None:
    namespace = new_id()
    for name in ["", "invoicing\x1f0190a0b0-0000-8000-8000-000000000001/1", "Grüße " * 50]:
        assert name_based_id(namespace, name) == str(uuid5(namespace, name))
