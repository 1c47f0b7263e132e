"""Run by a location's Python: makes a private environment of an archive. Standard library only, Python 3.11 or newer.

Arguments: the environment's folder, the archive. Prints the interpreter. Whoever comes second waits and uses what is
there; what a builder left that was killed is removed by the next one.
"""

import contextlib
import fcntl
import glob
import os
import shutil
import subprocess
import sys
import tarfile

SCRIPT = """#!{python}
import sys
from {module} import {function}
sys.exit({function}())
"""


def build(place: str, archive: str, alone: bool) -> None:
    """Build the environment beside its place, then rename it. `alone`: nobody else builds now."""
    for old in glob.glob(f"{glob.escape(place)}.new-*") if alone else ():
        shutil.rmtree(old, ignore_errors=True)
    new = f"{place}.new-{os.uname().nodename}-{os.getpid()}"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    packages = f"{new}/lib/python{version}/site-packages"
    os.makedirs(packages)
    os.mkdir(f"{new}/bin")
    own = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    with open(f"{new}/pyvenv.cfg", "w") as stream:
        stream.write(f"home = {os.path.dirname(own)}\ninclude-system-site-packages = true\nversion = {version}\n")
    for name in ("python", "python3", f"python{version}"):
        os.symlink(own, f"{new}/bin/{name}")
    with tarfile.open(archive) as stream:
        stream.extractall(packages)
    for entries in glob.glob(f"{glob.escape(packages)}/*.dist-info/entry_points.txt"):
        write_scripts(entries, f"{new}/bin", f"{place}/bin/python")
    check = subprocess.run(
        [f"{new}/bin/python", "-c", "import snakemake.cli"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if check.returncode:
        sys.exit(f"Snakemake cannot be imported there:\n{check.stderr[-2000:]}")
    os.rename(new, place)


def write_scripts(entries: str, folder: str, python: str) -> None:
    """Write the commands that a package declares."""
    section = ""
    with open(entries, encoding="utf-8") as stream:
        for line in map(str.strip, stream):
            if line.startswith("["):
                section = line
            elif section == "[console_scripts]" and "=" in line and not line.startswith("#"):
                name, target = (part.strip() for part in line.split("=", 1))
                module, _, function = target.partition("[")[0].strip().partition(":")
                path = f"{folder}/{os.path.basename(name)}"
                with open(path, "w", encoding="utf-8") as script:
                    script.write(SCRIPT.format(python=python, module=module, function=function))
                os.chmod(path, 0o755)


def main(place: str, archive: str) -> None:
    """Build, unless it is built."""
    with open(f"{place}.lock", "w") as lock:
        alone = False
        with contextlib.suppress(OSError):  # where locks do not work, the rename decides who is first
            fcntl.flock(lock, fcntl.LOCK_EX)
            alone = True
        if not os.path.exists(f"{place}/bin/python"):
            try:
                build(place, archive, alone)
            except OSError as error:
                if not os.path.exists(f"{place}/bin/python"):
                    sys.exit(f"cannot build {place}: {error}")
    print(f"{place}/bin/python")


if __name__ == "__main__":
    main(*sys.argv[1:])
