"""Logs somebody in at a terminal of its own, runs a command, and prints what the terminal shows.

usage: terminal_user.py PROGRAM ARGUMENT...; to be run where /run is a directory of this test only.
"""

import os
import pty
import select
import struct
import subprocess
import sys
import time

USER_PROCESS = 7
screen, terminal = pty.openpty()
line = os.ttyname(terminal).removeprefix("/dev/")
# struct utmp of glibc: type, pid, line, id, user, host, exit, session, time, address, unused.
entry = struct.pack(
    "hi32s4s32s256shhiii4i20x", USER_PROCESS, os.getpid(), line.encode(), b"ts", b"root", b"", 0, 0, 0, int(time.time()), 0, 0, 0, 0, 0
)
with open("/run/utmp", "wb") as file:
    file.write(entry)
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
shown = b""
# What was written waits in the terminal.
while select.select([screen], [], [], 2)[0]:
    shown += os.read(screen, 4096)
sys.stdout.buffer.write(shown)
sys.exit(done.returncode)
