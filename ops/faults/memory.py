"""What a process needs of memory."""

from __future__ import annotations

from pathlib import Path


def peak_mb(pid: int) -> float:
    """The most resident memory that the process has had so far, in MB; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return 0.0
    peaks = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peaks[0].split()[1]) * 1024 / 1e6 if peaks else 0.0
