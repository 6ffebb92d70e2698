"""Paths by their templates: literals before parameters, and nothing where nothing is."""

import pytest

from libs.common.path_table import PathTable, path_params

TEMPLATES = ("/a", "/a/", "/a/{id}", "/a/bulk", "/a/{id}/close", "/a/bulk/open")


def table() -> PathTable[str]:
    built: PathTable[str] = PathTable()
    for template in TEMPLATES:
        built.add("POST", template, template)
    return built


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/a/7", "/a/{id}"),
        ("/a/bulk", "/a/bulk"),
        ("/a/7/close", "/a/{id}/close"),
        ("/a/bulk/open", "/a/bulk/open"),
        ("/a/bulk/close", "/a/{id}/close"),
        ("/a/..", "/a/{id}"),
        ("/a//close", None),
        ("/a/7/", None),
        ("/b", None),
        ("/", None),
        ("", None),
    ],
)
def test_a_path_is_found_by_its_template(path: str, template: str | None) -> None:
    assert table().find(path).get("POST") == template
    assert "GET" not in table().find(path)


def test_parameters_are_what_stands_in_their_place() -> None:
    assert path_params("/a/{id}/close/{day}", "/a/x y/close/2026-01-01") == {"id": "x y", "day": "2026-01-01"}


def test_a_template_is_put_in_once() -> None:
    with pytest.raises(AssertionError, match="twice"):
        table().add("POST", "/a/{other}", "again")
