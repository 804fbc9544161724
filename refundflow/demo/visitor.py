"""A customer with a link and a browser without JavaScript: opens the page, fills the form in, confirms."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from html import unescape
from http.cookiejar import CookieJar
from typing import Final
from urllib.parse import urlencode

_HIDDEN: Final = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


class Visitor:
    """`link`: the address that the customer was given. Every page is waited for 15 s at most."""

    def __init__(self, link: str) -> None:
        self._link = link
        self._hidden: dict[str, str] = {}
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def cancel(self, units: Mapping[str, int]) -> str:
        """Asks for these units by line, or with none for the whole order, and confirms; returns the last page.

        Raises RuntimeError with the status where a page is refused.
        """
        self._open(None)
        chosen = {f"units.{line_id}": str(count) for line_id, count in units.items()}
        self._open({"what": "part" if units else "whole", "reason": "customer", **chosen})
        return self._open({})

    def _open(self, fields: Mapping[str, str] | None) -> str:
        data = None if fields is None else urlencode({**self._hidden, **fields}).encode()
        try:
            with self._opener.open(self._link, data, timeout=15) as answer:
                page = str(answer.read().decode())
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"the customer's page answered {error.code}") from error
        self._hidden = {name: unescape(value) for name, value in _HIDDEN.findall(page)}
        return page
