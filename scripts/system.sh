#!/usr/bin/env bash
# Checks the programs and system packages that the build and the demo need. On Debian and Ubuntu missing packages are
# installed when that is allowed (root, or sudo without a password); otherwise one line says what to install.
# Usage: scripts/system.sh PYTHON
set -euo pipefail

python=${1:-python3}
python_oldest="3.11"
cargo_oldest="1.92"
export PATH="$PATH:$HOME/.cargo/bin"

fail() {
    echo "setup: $*" >&2
    exit 1
}

# at_least VERSION OLDEST
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

is_debian() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null
}

package_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]
}

library_known() {
    { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep -q "$1"
}

# The software renderer's EGL, by which the simulator draws without a screen.
missing=()
if is_debian; then
    for package in libegl1 libopengl0 libgl1-mesa-dri; do
        package_installed "$package" || missing+=("$package")
    done
else
    library_known 'libEGL\.so\.1' || missing+=("EGL (libEGL.so.1) with Mesa's software renderer")
    library_known 'libOpenGL\.so\.0' || missing+=("libOpenGL.so.0")
fi
command -v cc >/dev/null || missing+=(gcc libc6-dev)
if ! command -v "$python" >/dev/null; then
    missing+=(python3 python3-venv)
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    # Debian's default interpreter has python3-venv, others have a package of their own.
    own=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    missing+=("$own")
fi

if [ ${#missing[@]} -gt 0 ]; then
    is_debian || fail "please install: ${missing[*]}"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            as_root=(sudo -n)
        else
            fail "please run: sudo apt-get install ${missing[*]}"
        fi
    fi
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq || echo "setup: the package lists could not be refreshed; trying with the old ones"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "please install: ${missing[*]}"
fi

command -v "$python" >/dev/null || fail "there is no $python: name an interpreter with make PYTHON=…"
version=$("$python" -c 'import platform; print(platform.python_version())')
at_least "$version" "$python_oldest" ||
    fail "Python $version is too old, $python_oldest is needed: install python3.12 python3.12-venv, then make PYTHON=python3.12"
command -v cargo >/dev/null ||
    fail "Rust is missing: install it from https://rustup.rs (cargo $cargo_oldest or newer)"
version=$(cargo --version 2>/dev/null | cut -d' ' -f2) || fail "cargo does not start; please run: rustup default stable"
at_least "$version" "$cargo_oldest" || fail "cargo $version is too old, $cargo_oldest is needed: rustup update stable"
