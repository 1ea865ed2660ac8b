"""The one account of a stand-in, told by HTTP's basic authentication."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response


@dataclass(frozen=True)
class Account:
    """A user and password."""

    user: str
    password: str = field(repr=False)

    def user_of(self, request: Request) -> str | None:
        """Return the user who asks, None where the credentials are missing or wrong."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return user if scheme.lower() == "basic" and (user, password) == (self.user, self.password) else None

    def unauthorised(self) -> Response:
        """Return the answer to who is not known."""
        return PlainTextResponse("Authorization required", 401, {"www-authenticate": 'Basic realm="GBIF"'})
