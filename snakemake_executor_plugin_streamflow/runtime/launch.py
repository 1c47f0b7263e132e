"""Run by a location's Python, without its packages (`-I -S`): asks the warm process for a Snakemake, or starts one.

Standard library only. The warm process (`warm.py`, beside this file) is asked through a socket in the folder of this
file, which belongs to the user alone. It gets this process's arguments, environment, working directory and streams, and
answers with the exit code. It refuses what it cannot do exactly as a fresh process would. When this process ends early,
the job is ended; when the warm one does, the job has failed.
"""

# Every job waits for these imports: `socket` loads `enum`, and takes longer than all the others and Python itself.
import _socket
import fcntl
import hashlib
import marshal
import os
import resource
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
_SHAPING = ("PYTHON", "SNAKEMAKE", "LD_", "LC_", "LANG", "MALLOC_", "HOME", "USER", "TZ")
"""Variables that begin so have an effect when a process starts: a warm one must have been started with the same."""


def nature() -> str:
    """What a process cannot change once it runs, or gets from the one that started it; equal in both, or no deal."""
    with open("/proc/self/cgroup") as stream:
        groups = stream.read()
    spaces = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net")]
    limits = [resource.getrlimit(getattr(resource, name)) for name in sorted(dir(resource)) if "RLIMIT_" in name]
    variables = sorted((k, v) for k, v in os.environ.items() if k.startswith(_SHAPING))
    ids = [os.getuid(), os.geteuid(), os.getgid(), os.getgroups(), os.sched_getaffinity(0), os.nice(0)]
    facts = [groups, spaces, limits, variables, ids, os.uname().nodename, sys.executable]
    return hashlib.sha1(repr(facts).encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def ask(name: str) -> int | None:
    """Have the warm process run Snakemake; return its exit code, or None when it does not, or is not there."""
    here = os.getcwd()
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    os.chdir(HERE)  # the whole path may be longer than the 108 bytes that a socket's address can have
    try:
        channel.connect(name)
    except OSError:
        return None
    finally:
        os.chdir(here)
    umask = os.umask(0o77)
    os.umask(umask)
    wish = {"argv": sys.argv[1:], "env": dict(os.environ), "cwd": here, "umask": umask}
    data = marshal.dumps(wish)  # the other end is the same Python
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    try:
        channel.sendmsg([len(data).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
        channel.sendall(data)
        if channel.recv(1) != b"y":
            return None
    except OSError:
        return None  # it ended before it began
    code = channel.recv(16)
    if not code:
        print("The process that ran this job has ended.", file=sys.stderr)
    return int(code) if code else 1


def warm_up(name: str) -> None:
    """Start the warm process for those who come later, unless somebody else is about to."""
    import subprocess

    with open(f"{HERE}/{name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        # Not a job's: its variables would be taken for those of this one.
        env = {k: v for k, v in os.environ.items() if k.startswith(_SHAPING) or k in ("PATH", "TMPDIR")}
        subprocess.Popen(
            [sys.executable, f"{HERE}/warm.py", name, str(lock.fileno())],
            env=env,
            cwd="/",
            pass_fds=[lock.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def main() -> None:
    """Run Snakemake with the arguments of this process."""
    try:
        name = f"warm-{nature()[:16]}"
        code = ask(name)
        if code is None:
            warm_up(name)
    except OSError:  # no /proc, no locks: no warm process
        code = None
    if code is not None:
        sys.stdout.flush()
        sys.exit(code)
    os.execv(sys.executable, [sys.executable, f"{HERE}/warm.py", "fresh", *sys.argv[1:]])


if __name__ == "__main__":
    main()
