#!/usr/bin/env python3
"""CPU time of a build from nothing, by crate: user and system time of every compiler that ran, in seconds.

    benches/build.py [--crates COUNT] [arguments of cargo build, instead of --release]

Fetch the crates before (`cargo fetch`). The build is thrown away.
"""
import argparse, collections, os, re, resource, shutil, subprocess, sys, tempfile

# Runs a compiler, and notes what it compiled and how long that took. `times` prints the shell's own time, then that of the compiler.
WRAPPER = """#!/bin/sh
{compiler}"$@"
code=$?
name=${{PWD##*/}}
while [ $# -gt 0 ]; do
    [ "$1" = --crate-name ] && name=$2
    shift
done
echo "{kind} $CARGO_PKG_NAME $name" > {folder}/$name.$$.{kind}
times >> {folder}/$name.$$.{kind}
exit $code
"""


def wrapper(folder, kind, compiler):
    path = os.path.join(folder, kind)
    with open(path, "w") as file:
        file.write(WRAPPER.format(compiler=compiler, kind=kind, folder=folder))
    os.chmod(path, 0o755)
    return path


def noted(folder):
    """Seconds by crate. Its build script is part of it; its C code and its program, where it has both, are lines of their own."""
    spent = collections.Counter()
    for name in os.listdir(folder):
        if not name.endswith((".rustc", ".cc")):
            continue
        with open(os.path.join(folder, name)) as file:
            text = file.read()
        kind, package, crate = re.match(r"(\w+) (\S*) (\S+)", text).groups()
        took = sum(60 * int(minutes) + float(rest) for minutes, rest in re.findall(r"(\d+)m([\d.]+)s", text))
        is_program = kind == "rustc" and crate not in (package.replace("-", "_"), "build_script_build", "build_script_main")
        spent[f"{package}{', C' if kind == 'cc' else ''}{', ' + crate if is_program else ''}"] += took
    return spent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crates", type=int, default=25, help="how many crates are listed")
    chosen, arguments = parser.parse_known_args()
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "CARGO_TARGET_DIR": os.path.join(folder, "target"),
            "RUSTC_WRAPPER": wrapper(folder, "rustc", ""),
            "CC": wrapper(folder, "cc", shutil.which("cc") + " "),
        }
        subprocess.run(["cargo", "build", *(arguments or ["--release"])], check=True, env=environment)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = noted(folder)
    total = used.ru_utime + used.ru_stime
    for crate, took in spent.most_common(chosen.crates):
        print(f"{crate:<32} {took:>7.1f}")
    rest = sum(took for _, took in spent.most_common()[chosen.crates :])
    print(f"{len(spent) - chosen.crates:>3} others {'':<21} {rest:>7.1f}")
    print(f"{'cargo and build scripts':<32} {total - sum(spent.values()):>7.1f}")
    print(f"{'all':<32} {total:>7.1f} s, {total / 60:.1f} minutes of CPU")


if __name__ == "__main__":
    main()
