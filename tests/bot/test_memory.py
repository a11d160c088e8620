"""What was large and is free goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

_HASHES = """
import asyncio
from pathlib import Path
from bot.memory import give_back
from reports.sealing import hash_code

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 // 1024

async def main():
    await asyncio.to_thread(int)
    before = resident()
    for _ in range(3):
        await asyncio.gather(*(asyncio.to_thread(hash_code, "1234567890123456") for _ in range(3)))
    print(resident() - before)

give_back()
asyncio.run(main())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists(), reason="needs glibc")
def test_what_slow_hashes_needed_is_given_back():
    done = subprocess.run([sys.executable, "-c", _HASHES], capture_output=True, text=True, check=True)

    assert int(done.stdout) < 15, "MiB held after hashes of 19 MiB each"
