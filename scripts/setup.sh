#!/usr/bin/env bash
# Installs what building and testing need, says what, and changes nothing that is already there.
#   scripts/setup.sh build    compiler tools, ONNX Runtime, libheif  (make demo, make build)
#   scripts/setup.sh test     also sshd, sshfs, shellcheck, strace, an emulator of old processors, a BLAS for faiss, Chromium,
#                             Python's polars, faiss, schemathesis, playwright and axe, cargo-deny     (make test, make lint)
# Written for bash 3.2, which is what macOS has.
set -euo pipefail

level=${1:-test}
cache=${XDG_CACHE_HOME:-$HOME/.cache}
[ "$(uname -s)" = Darwin ] && cache=${XDG_CACHE_HOME:-$HOME/Library/Caches}
cache=$cache/imagefleet
missing=()

say() { printf 'setup: %s\n' "$*" >&2; }

# need WHAT PACKAGE COMMAND...: the package is missing if the command fails.
need() {
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}

has() { command -v "$1"; }
library() { ldconfig -p | grep -q "$1"; }
compiles() { printf 'int main(){return 0;}' | cc -x c - -o /dev/null "$@"; }
installed() { dpkg -s "$1" | grep -q "^Status:.* installed$"; }
may_install() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
venv_works() { python3 -c 'import ensurepip, venv'; }

debian() {
  need build-essential has c++
  need make has make
  need cmake has cmake
  need nasm has nasm
  need pkg-config has pkg-config
  need python3 has python3
  need python3-venv venv_works
  # For HEIC and AVIF, which are named as failed without it. Newer releases have its codecs in packages of their own.
  if may_install; then
    for package in libheif1 libheif-plugin-libde265 libheif-plugin-aomdec; do
      if apt-cache show "$package" >/dev/null 2>&1; then need "$package" installed "$package"; fi
    done
  fi
  if [ "$level" = test ]; then
    need libopenblas-dev compiles -lblas -llapack
    need qemu-user has qemu-x86_64
    need openssh-server test -x /usr/sbin/sshd
    need openssh-client has ssh
    need shellcheck has shellcheck
    need util-linux has nsenter
    need passwd has useradd
    need iproute2 has ip
    need procps has pgrep
    need strace has strace
    need curl has curl
    need sshfs has sshfs
    need chromium has chromium
    need pngquant has pngquant
  fi
  [ ${#missing[@]} -gt 0 ] || return 0
  local sudo=
  if [ "$(id -u)" != 0 ]; then
    sudo='sudo'
    if ! may_install; then
      say "these packages are missing, and installing them needs root:"
      say "    sudo apt-get install ${missing[*]}"
      exit 1
    fi
  fi
  say "installing packages: ${missing[*]}"
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

macos() {
  need cmake has cmake
  need nasm has nasm
  need pkg-config has pkg-config
  need libheif test -d "$(brew --prefix libheif 2>/dev/null || echo /nowhere)"
  need python3 has python3
  if [ "$level" = test ]; then
    need openblas test -d "$(brew --prefix openblas 2>/dev/null || echo /nowhere)"
    need gcc test -d "$(brew --prefix gcc 2>/dev/null || echo /nowhere)"
    need shellcheck has shellcheck
  fi
  [ ${#missing[@]} -gt 0 ] || return 0
  has brew >/dev/null || { say "Homebrew is missing; install it, then run this again (needed: ${missing[*]})"; exit 1; }
  say "installing with Homebrew: ${missing[*]}"
  brew install --quiet "${missing[@]}" >&2
}

# rust_suits: cargo is as new as Cargo.toml asks for.
rust_suits() {
  local have need
  have=$(cargo --version 2>/dev/null | cut -d' ' -f2)
  need=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$(dirname "$0")/../Cargo.toml")
  printf '%s %s\n' "${have:-0}" "$need" |
    awk '{ split($1, h, "."); split($2, n, "."); exit !(h[1] + 0 > n[1] + 0 || h[1] + 0 == n[1] + 0 && h[2] + 0 >= n[2] + 0) }'
}

rust() {
  if ! rust_suits && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH=$HOME/.cargo/bin:$PATH
  fi
  if ! has cargo >/dev/null; then
    say "installing Rust with rustup into $HOME/.cargo"
    has curl >/dev/null || { say "curl is missing; install Rust 1.92 or newer by hand (https://rustup.rs)"; exit 1; }
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt >&2
    PATH=$HOME/.cargo/bin:$PATH
  fi
  if ! rust_suits; then
    say "$(command -v cargo) is $(cargo --version 2>/dev/null || echo broken), but Rust 1.92 or newer is needed:"
    if has rustup >/dev/null; then
      say "    rustup update stable && rustup default stable"
    else
      say "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
      say "which puts it into $HOME/.cargo; an older one of the system may stay, or be removed with its own tools"
    fi
    exit 1
  fi
  if [ "$level" = test ] && ! cargo deny --version >/dev/null 2>&1; then
    say "installing cargo-deny (licences and duplicate crates; some minutes)"
    cargo install --quiet --locked cargo-deny >&2
  fi
  # Building fetches what this system needs; licences and the graph are checked for all systems, without a network.
  if [ "$level" = test ] && ! cargo metadata --locked --offline --format-version 1 >/dev/null 2>&1; then
    say "fetching the sources of all dependencies"
    cargo fetch --quiet --locked >&2
  fi
}

python_venv() {
  if ! [ -x "$cache/python/bin/pip" ]; then
    say "making a Python environment in $cache/python"
    python3 -m venv "$cache/python"
  fi
}

# ONNX Runtime's library comes out of its Python wheel, which is a zip file. The hash pins it.
onnxruntime() {
  local library=libonnxruntime.so wheel version platform hash
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64)
      wheel=onnxruntime-openvino version=1.24.1 platform=manylinux_2_28_x86_64
      hash=3007c803634cc69c6d52af1dea7ce729d9bb62b9a11070fd2f959119199007a8 ;;
    Linux-aarch64)
      wheel=onnxruntime version=1.31.1 platform=manylinux_2_28_aarch64
      hash=da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3 ;;
    Darwin-arm64)
      wheel=onnxruntime version=1.31.1 platform=macosx_14_0_arm64 library=libonnxruntime.dylib
      hash=60b6b69bfe580eab576cacc5d132a0e9cf2a37fcfd18d46dd191042b1d1ed0d7 ;;
    *) say "no ONNX Runtime is known for $(uname -s) on $(uname -m): set ORT_DYLIB_PATH to a library of yours"; return ;;
  esac
  local home=$cache/onnxruntime
  [ -e "$home/$wheel-$version/complete" ] && [ -e "$home/$library" ] && return
  say "fetching ONNX Runtime ($wheel $version) into $home"
  mkdir -p "$home"
  local scratch
  scratch=$(mktemp -d "$home/fetch.XXXXXX")
  printf '%s==%s --hash=sha256:%s\n' "$wheel" "$version" "$hash" > "$scratch/requirements"
  python_venv
  "$cache/python/bin/pip" download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 --platform "$platform" \
    --dest "$scratch" --requirement "$scratch/requirements" >&2
  python3 - "$scratch" "$library" <<'PYTHON'
import pathlib, sys, zipfile
scratch, library = pathlib.Path(sys.argv[1]), sys.argv[2]
out = scratch / "out"
out.mkdir()
with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
    for name in wheel.namelist():
        file = pathlib.PurePosixPath(name)
        wanted = file.suffix == ".dylib" or ".so" in file.suffixes
        if "capi" in file.parts and wanted and "pybind" not in file.name:
            (out / file.name).write_bytes(wheel.read(name))
names = sorted(f.name for f in out.iterdir())
real = [n for n in names if n.startswith(library.split(".")[0] + ".") and "providers" not in n]
if library not in names:
    (out / library).symlink_to(real[0])
(out / "complete").touch()
PYTHON
  rm -rf "${home:?}/$wheel-$version"
  mv "$scratch/out" "$home/$wheel-$version"
  rm -rf "$scratch"
  ln -sfn "$wheel-$version/$library" "$home/$library"
}

# Tests open every file in Python, as other programs do, hold the server against its description, and the gallery in a
# browser.
python_packages() {
  [ "$level" = test ] || return 0
  # Playwright drives the browser that is installed, and fetches none.
  local want='polars==2.1.0 faiss-cpu==1.15.1 numpy==2.4.6 schemathesis==4.32.5 playwright==1.65.2 axe-playwright-python==0.1.8'
  local python=$cache/python/bin/python
  [ "$(cat "$cache/python/packages" 2>/dev/null)" = "$want" ] && return
  python_venv
  say "installing Python packages for the tests: $want"
  # shellcheck disable=SC2086  # words are wanted
  "$python" -m pip install --quiet --disable-pip-version-check $want >&2
  printf '%s' "$want" > "$cache/python/packages"
}

case "$(uname -s)" in
  Darwin) macos ;;
  Linux) if has apt-get >/dev/null; then debian; else say "no apt-get here: install cmake, nasm, a C++ compiler and Python 3 yourself (for tests: a BLAS, qemu-user)"; fi ;;
  *) say "this system is not known; trying anyway" ;;
esac
rust
onnxruntime
python_packages
say "ready"
