"""Rules for the hosts of zoos: request rates, pauses, redirects, and the meaning of their HTML pages.

One entry per host in `HOSTS`, applied by `filterzoo.network.transport`; any other host has the default rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from filterzoo.errors import Reason, Refused
from filterzoo.network.addresses import host_of, shown
from filterzoo.network.forms import hidden_inputs
from filterzoo.network.health import utc

_FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")


@dataclass(frozen=True, slots=True)
class Pause:
    """A header that states how long to wait: `pattern` extracts seconds, or a Unix time."""

    header: str
    pattern: re.Pattern[str]
    is_time: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML page that is sent instead of a file, recognised by `pattern`, and its meaning.

    lasts: how long the state lasts at most, in seconds; 0 if unknown. confirm: the address that returns the file, "" if
    there is none. The page's hidden inputs are sent to it, except for the file's id, which stays the requested one.
    """

    pattern: re.Pattern[str]
    detail: str
    reason: Reason = Reason.FETCH_FAILED
    lasts: float = 0.0
    confirm: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The rules of a host. `names` and `redirects` are patterns of host names.

    interval: seconds from one request to the next. redirects: hosts of its own storage. limited: additional statuses
    that mean "too many requests" if `pauses` or Retry-After state a time. blocks: statuses with which its firewall
    rejects unusual traffic. logins: hosts that a redirect leads to if a login is required. keeps: seconds for which a
    whole download is taken from the cache without a request, if the host sends no validator.
    """

    names: tuple[str, ...] = ()
    interval: float = 0.0
    redirects: tuple[str, ...] = ()
    limited: frozenset[int] = frozenset()
    blocks: frozenset[int] = frozenset()
    pauses: tuple[Pause, ...] = ()
    logins: tuple[str, ...] = ()
    pages: tuple[Page, ...] = ()
    keeps: float = 0.0

    def wait(self, headers: Mapping[str, str], now: float) -> float | None:
        """The longest pause in seconds that the headers request, None without one."""
        found = [(pause, pause.pattern.search(headers.get(pause.header, ""))) for pause in self.pauses]
        waits = [float(match[1]) - (now if pause.is_time else 0.0) for pause, match in found if match]
        return max(0.0, *waits) if waits else None

    def is_limit(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether a status that is otherwise final means "too many requests" at this host."""
        if status not in self.limited:
            return False
        return headers.get("x-ratelimit-remaining") == "0" or "retry-after" in headers

    def file_address(self, url: str, page: str, now: float) -> str | None:
        """The URL of the file that a known page refers to; None for an unknown page; Refused if it has no file."""
        for known in self.pages:
            if not known.pattern.search(page):
                continue
            query = parse_qs(urlsplit(url).query)
            file_id = query.get("id", [""])[0]
            if known.confirm and "confirm" not in query and _FILE_ID.fullmatch(file_id):
                inputs = {"id": file_id, "export": "download", "confirm": "t"}
                further = {key: value for key, value in hidden_inputs(page).items() if key not in {"id", "export"}}
                return f"{urljoin(url, known.confirm)}?{urlencode(inputs | further)}"
            until = utc(now + known.lasts) if known.lasts else None
            raise Refused(known.reason, known.detail, shown(url), not_before=until)
        return None


GITHUB = Host(
    names=("github.com", "api.github.com"),
    redirects=("objects.githubusercontent.com", "release-assets.githubusercontent.com", "codeload.github.com"),
    # https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    limited=frozenset({403}),
    pauses=(Pause("x-ratelimit-reset", re.compile(r"^([0-9]{1,12})$"), is_time=True),),
)

ZENODO = Host(
    names=("zenodo.org", "www.zenodo.org"),
    # Guests: 60 requests a minute and 2,000 an hour (https://developers.zenodo.org/#rate-limiting).
    interval=1.8,
    # Its firewall temporarily responds 403 to "unusual traffic".
    limited=frozenset({403}),
    blocks=frozenset({403, 429}),
    redirects=("zenodo.org",),
    pauses=(Pause("x-ratelimit-reset", re.compile(r"^([0-9]{1,12})$"), is_time=True),),
)

GOOGLE_DRIVE = Host(
    names=("drive.google.com", "drive.usercontent.google.com", "docs.google.com"),
    # No limit is published; a file has a daily quota shared by all users.
    interval=1.0,
    blocks=frozenset({403, 429}),
    redirects=("drive.usercontent.google.com", "drive.google.com", "*.googleusercontent.com"),
    limited=frozenset({403}),
    logins=("accounts.google.com",),
    # Several entries of a zoo name the same file, whose id identifies its content.
    keeps=7 * 86_400.0,
    pages=(
        Page(
            re.compile(r"quota exceeded|too many users have viewed or downloaded", re.IGNORECASE),
            "Google Drive's daily download quota of this file is used up; run again tomorrow",
            lasts=86_400.0,
        ),
        Page(
            re.compile(r"you need (access|permission)|request access|sign in to continue", re.IGNORECASE),
            "Google Drive asks for a login or for the owner's permission",
            Reason.GATED,
        ),
        Page(
            re.compile(r"can.{1,6}t scan this file for viruses|virus scan warning|id=.download-form", re.IGNORECASE),
            "Google Drive asks for confirmation again and again",
            confirm="//drive.usercontent.google.com/download",
        ),
    ),
)

HUGGING_FACE = Host(
    names=("huggingface.co", "hf.co"),
    redirects=("huggingface.co", "*.huggingface.co", "*.hf.co"),
    # `RateLimit: "resolvers";r=0;t=117` (https://huggingface.co/docs/hub/rate-limits)
    pauses=(Pause("ratelimit", re.compile(r";\s*t=([0-9]{1,6})")),),
)

NGC = Host(
    names=("api.ngc.nvidia.com",),
    redirects=("*.ngc.nvidia.com", "prod-model-registry-ngc-bucket.s3.us-west-2.amazonaws.com"),
)

PLAIN = Host(pauses=HUGGING_FACE.pauses)
"""The rules of any other host; mirrors of the Hub send its headers, and those of the RFC draft look the same."""

CODES = {
    "GatedRepo": (Reason.GATED, "the Hub asks for an agreement first"),
    "RepoNotFound": (Reason.REMOVED, "the Hub has no such repository, or none that this token may see"),
    "RevisionNotFound": (Reason.REMOVED, "the Hub has no such revision"),
    "EntryNotFound": (Reason.REMOVED, "not found"),
    "DisabledRepo": (Reason.REMOVED, "the Hub has disabled it"),
}
"""X-Error-Code of the Hugging Face Hub and its mirrors, which disambiguates statuses."""

HOSTS = (GITHUB, ZENODO, GOOGLE_DRIVE, HUGGING_FACE, NGC)


def rules_of(url: str) -> Host:
    """The entry of a URL's host, `PLAIN` for an unknown host."""
    host = host_of(url)
    return next((entry for entry in HOSTS if matches(host, entry.names)), PLAIN)


def matches(host: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns matches this host; `*` matches any."""
    return any(fnmatchcase(host, pattern) for pattern in patterns)
