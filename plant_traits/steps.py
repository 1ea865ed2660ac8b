"""The step store: every output under a key made of what it depends on, written aside, its manifest last.

Rules 1 and 2 of the house. A step is a function that fills an empty local folder. Its key is the hash of its name, its
parameters, the digests of its inputs and its code version. The folder is filled in scratch, hashed, moved into place,
and only then is its manifest written, in one step. A reader trusts manifests alone, so a killed run leaves nothing
that could be mistaken for a result, and the next run resumes where the last manifest stands.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from plant_traits.errors import WorkspaceError
from plant_traits.workspace import Workspace

logger = logging.getLogger(__name__)

_READERS = 16  # manifests read at a time; an object store answers each after some ten milliseconds
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

Summary = dict[str, Any]
Compute = Callable[[Path], Summary | None]


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and sha256 of one file of an artifact."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Artifact:
    """The committed output of one step.

    Attributes:
        step: the step's name.
        key: what the output depends on, hashed.
        digest: what the output is, hashed; downstream keys are made of it.
        files: every file by its path within the artifact.
        summary: counts and other small facts the step reported.
        reused: True where this call found the output finished.
    """

    step: str
    key: str
    digest: str
    files: Mapping[str, FileRecord]
    summary: Summary
    reused: bool = field(default=False, compare=False)

    @property
    def size(self) -> int:
        """Total bytes."""
        return sum(record.size for record in self.files.values())


def step_key(step: str, *, parameters: Mapping[str, Any], inputs: Mapping[str, str], code: str) -> str:
    """Return the key of a step's output: a hash of 32 hexadecimal digits.

    Args:
        step: the step's name.
        parameters: everything the step is told, as JSON-serialisable values.
        inputs: digest of each input artifact or file, by its role.
        code: the code version, see ``plant_traits.code_version``.
    """
    content = {"step": step, "parameters": parameters, "inputs": dict(inputs), "code": code}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class StepStore:
    """Content-keyed outputs inside a workspace."""

    workspace: Workspace

    def find(self, step: str, key: str) -> Artifact | None:
        """Return a committed output, or None where there is none or where its files are not all there."""
        content = self.workspace.read_bytes("steps", step, f"{key}.json")
        if content is None:
            return None
        artifact = _read_manifest(step, key, content)
        return artifact if self._is_whole(artifact) else None

    def committed(self, step: str) -> Iterator[Artifact]:
        """Yield every committed output of a step, of any key, in the order of the keys.

        Only manifests are read: whether an output's files are still there and whole is for the reader to see. A
        manifest that is damaged is passed over with a warning, one that goes while the listing is read without.
        """
        names = (address.rpartition("/")[2] for address in self.workspace.list("steps", step))
        keys = sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
        with ThreadPoolExecutor(_READERS) as readers:
            for start in range(0, len(keys), 64 * _READERS):
                some = keys[start : start + 64 * _READERS]
                contents = readers.map(lambda key: self.workspace.read_bytes("steps", step, f"{key}.json"), some)
                for key, content in zip(some, contents, strict=True):
                    if content is None:
                        continue
                    try:
                        yield _read_manifest(step, key, content)
                    except (ValueError, KeyError, TypeError, AttributeError) as error:
                        logger.warning("manifest %s of step %s cannot be read: %r", key, step, error)

    def run(
        self,
        step: str,
        compute: Compute,
        *,
        code: str,
        parameters: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Return the output of a step, computing it only where it does not exist.

        Args:
            step: the step's name, a folder of the store.
            compute: fills an empty local folder and may return a JSON-serialisable summary.
            code: code version of ``compute``.
            parameters: everything ``compute`` is told.
            inputs: digests of what ``compute`` reads.

        Returns:
            The committed artifact; ``reused`` tells whether it was found.

        Raises:
            WorkspaceError: the output cannot be written, a full disk included; nothing half-written stays behind.
        """
        key = step_key(step, parameters=parameters or {}, inputs=inputs or {}, code=code)
        found = self.find(step, key)
        if found is not None:
            return found
        aside = self.workspace.scratch / f"{step}-{key}-{uuid.uuid4().hex[:8]}"
        try:
            aside.mkdir(parents=True)
            # Sums of floats depend on how a BLAS divides them among threads, which differs from run to run.
            with threadpool_limits(1, user_api="blas"):
                summary = compute(aside) or {}
            artifact = Artifact(step, key, *_fingerprint(aside), summary)
            self._commit(aside, artifact)
        except OSError as error:
            if error.errno not in _CANNOT_WRITE:
                raise
            raise WorkspaceError(
                f"step {step!r} could not write its output under {aside}: {error}. Free space or make it writable, "
                "then run again: finished steps are kept"
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return artifact

    def collect(self, step: str, members: Mapping[str, Artifact], summary: Summary | None = None) -> Artifact:
        """Commit a list of member artifacts as one artifact, whose digest follows theirs."""
        listing = {name: {"step": x.step, "key": x.key, "digest": x.digest} for name, x in sorted(members.items())}

        def write(folder: Path) -> Summary:
            (folder / "members.json").write_text(json.dumps(listing, indent=1, sort_keys=True), encoding="utf-8")
            return {"members": len(listing), **(summary or {})}

        return self.run(
            step,
            write,
            code="members-1",
            parameters={"summary": summary or {}},
            inputs={"members": _hash_json(listing)},
        )

    def members(self, collection: Artifact) -> dict[str, Artifact]:
        """Return the member artifacts of a collection, by name.

        Raises:
            WorkspaceError: a member has been removed from the store.
        """
        listing = json.loads(self.fetch(collection).joinpath("members.json").read_text(encoding="utf-8"))
        members = {name: self.find(entry["step"], entry["key"]) for name, entry in listing.items()}
        gone = [name for name, artifact in members.items() if artifact is None]
        if gone:
            raise WorkspaceError(
                f"{len(gone)} of {len(members)} members of {collection.step} are gone, first {gone[0]!r}; "
                "run the refresh again to restore them"
            )
        return {name: artifact for name, artifact in members.items() if artifact is not None}

    def fetch(self, artifact: Artifact) -> Path:
        """Return a local folder with the artifact's files; a remote one is brought to scratch once."""
        address = self.workspace.address("steps", artifact.step, artifact.key)
        if self.workspace.is_local:
            return Path(address)
        local = self.workspace.scratch / "fetched" / artifact.step / artifact.key
        if not local.is_dir():
            aside = local.with_name(f"{local.name}-{uuid.uuid4().hex[:8]}")
            for relative in artifact.files:
                target = aside / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                self.workspace.filesystem.get_file(f"{address}/{relative}", str(target))
            try:
                aside.rename(local)
            except OSError:
                if not local.is_dir():
                    raise
                shutil.rmtree(aside)  # another process was first, with the same bytes
        return local

    def _commit(self, aside: Path, artifact: Artifact) -> None:
        workspace = self.workspace
        target = workspace.address("steps", artifact.step, artifact.key)
        if workspace.is_local:
            if Path(target).exists():  # left by a killed run, or by a twin that is about to commit the same bytes
                stale = workspace.scratch / f"stale-{artifact.key}-{uuid.uuid4().hex[:8]}"
                Path(target).rename(stale)
                shutil.rmtree(stale, ignore_errors=True)
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            aside.rename(target)
        else:
            for relative in artifact.files:
                destination = f"{target}/{relative}"
                workspace.filesystem.makedirs(destination.rpartition("/")[0], exist_ok=True)
                workspace.filesystem.put_file(str(aside / relative), destination)
        manifest = {
            "step": artifact.step,
            "key": artifact.key,
            "digest": artifact.digest,
            "files": {path: asdict(record) for path, record in artifact.files.items()},
            "summary": artifact.summary,
        }
        content = json.dumps(manifest, indent=1).encode()  # in the order told, so that a reused summary reads the same
        workspace.write_bytes(content, "steps", artifact.step, f"{artifact.key}.json")

    def _is_whole(self, artifact: Artifact) -> bool:
        address = self.workspace.address("steps", artifact.step, artifact.key)
        filesystem = self.workspace.filesystem
        try:
            return all(filesystem.size(f"{address}/{path}") == record.size for path, record in artifact.files.items())
        except FileNotFoundError:
            return False


def _read_manifest(step: str, key: str, content: bytes) -> Artifact:
    manifest = json.loads(content)
    files = {path: FileRecord(**record) for path, record in manifest["files"].items()}
    return Artifact(step, key, manifest["digest"], files, manifest["summary"], reused=True)


def _fingerprint(folder: Path) -> tuple[str, dict[str, FileRecord]]:
    files: dict[str, FileRecord] = {}
    for path in sorted(x for x in folder.rglob("*") if x.is_file()):
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        files[path.relative_to(folder).as_posix()] = FileRecord(path.stat().st_size, sha256)
    return _hash_json({path: record.sha256 for path, record in files.items()}), files


def _hash_json(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]
