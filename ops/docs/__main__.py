"""`python -m ops.docs [FOLDER]`: build the site, else in .run/site, and check its links."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ops.docs.links import problems
from ops.docs.pages import ROOT


def main() -> int:
    """0 if the site is built without a warning and every link leads somewhere."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".run" / "site"
    command = ["-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(ROOT / "mkdocs.yml")]
    built = subprocess.run(
        [sys.executable, *command, "--site-dir", str(folder.resolve())], check=False
    )
    if built.returncode:
        return 1
    found = problems(folder)
    for line in found:
        sys.stderr.write(f"{line}\n")
    sys.stdout.write(f"{folder / 'index.html'}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
