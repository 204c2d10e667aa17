"""The built book on a local server, and Chromium to look at it.

Run by `make test-browser`, which builds the book first. Chromium is the one that is
installed, or the one that the environment variable CHROMIUM names; none is downloaded.
"""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser

import build
import pdf

SITE = build.ROOT / "_build" / "html"
PAGES = build.toc_pages(build.ROOT)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured and do not judge."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Keep the test output free of requests."""


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The built book, served on this machine."""
    build.assert_pages_exist(PAGES, SITE, ".html")
    handler = partial(QuietHandler, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The installed Chromium; a failure, not a skip, if there is none."""
    with pdf.chromium() as browser:
        yield browser
