#!/bin/sh
# Decodes all test vectors on aarch64, emulated by qemu, and compares the integers: with fvc's own modules (and its range
# coder in Python integers: constriction 0.5.0 has no wheel for Linux on aarch64) and with spec_decoder.py. Takes minutes and is no part of the test suite. Wants Linux, root, qemu-aarch64-static and debootstrap
# (Debian: apt-get install qemu-user-static debootstrap); says what is missing.
#
#     sh tests/try_aarch64.sh [DIR]      DIR (default build/aarch64) keeps the emulated root for the next time
set -eu
cd "$(dirname "$0")/.."
here=$(pwd)
dir=${1:-build/aarch64}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
root=$dir/root
python=${PYTHON:-python3}

for tool in qemu-aarch64-static debootstrap "$python"; do
    command -v "$tool" > /dev/null || { echo "try_aarch64: $tool is not installed (see the top of this script)" >&2; exit 2; }
done

if [ ! -x "$root/usr/bin/python3.11" ]; then
    # The first stage only unpacks; nothing of the second, which would run the packages' scripts, is needed.
    packages=python3.11-minimal,libpython3.11-minimal,libpython3.11-stdlib,libstdc++6,libgcc-s1,zlib1g,libexpat1,libffi8
    debootstrap --foreign --arch=arm64 --variant=minbase --include="$packages" bookworm "$root" > "$dir/debootstrap.log"
    for package in "$root"/var/cache/apt/archives/*.deb; do
        case $(basename "$package") in
            *python3.11* | libstdc++* | libgcc-s1* | zlib1g* | libexpat1* | libffi8* | libc6* | libbz2* | liblzma*)
                dpkg-deb --extract "$package" "$root" ;;
        esac
    done
fi
if [ ! -d "$dir/site/numpy" ]; then
    wheel() {
        "$python" -m pip download --quiet --no-deps --dest "$dir/wheels" --python-version 311 --only-binary=:all: \
            --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 "$1"
    }
    wheel 'numpy>=1.26,<2'
    wheel 'constriction>=0.5,<0.6' 2> /dev/null || echo "try_aarch64: no constriction for aarch64"
    for wheel in "$dir"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$dir/site"; done
fi

mkdir -p "$dir/fvc"
for file in "$here"/fvc/*.py; do ln -sfn "$file" "$dir/fvc/"; done
for part in codec models; do ln -sfn "$here/$part" "$dir/fvc/$part"; done
# -L is where the emulator looks for libraries; Python itself reads its own from PYTHONHOME, all else from here.
PYTHONHOME=$root/usr PYTHONPATH=$dir:$dir/site:$here/tests/spec PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1 \
    qemu-aarch64-static -L "$root" "$root/usr/bin/python3.11" "$here/tests/spec/check_vectors.py"
