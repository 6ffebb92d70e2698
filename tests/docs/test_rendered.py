"""Pages made from code say what the code says; `make docs` writes them anew."""

from pathlib import Path

import pytest

from tests.docs import rendered


@pytest.mark.parametrize("path", rendered.pages())
def test_the_page_is_up_to_date(repository: Path, path: str) -> None:
    assert (repository / path).read_text(encoding="utf-8") == rendered.pages()[path], "run: make docs"
