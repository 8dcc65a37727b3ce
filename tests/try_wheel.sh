#!/bin/sh
# try_wheel.sh PYTHON WHEEL SAMPLE: install the wheel into an empty environment and run encode and decode outside the checkout.
set -eu
python=$1 wheel=$(realpath "$2") sample=$(realpath "$3")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel"
cd "$folder"
cp "$sample" in.mp4
PATH="$folder/venv/bin:$PATH"
fvc --version
fvc encode in.mp4 out.fvc --json
fvc decode out.fvc --sources out.fvs --json
test -s out.decoded.mp4
"$folder/venv/bin/python" -m pip list --format=freeze | grep -qi '^torch==' && { echo "torch is in the default install"; exit 1; }
echo "wheel works"
