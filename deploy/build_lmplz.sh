#!/usr/bin/env bash
# Builds `lmplz` and `build_binary`, KenLM's trainer and its compiler of ARPA files.
#
# The Python package `kenlm` (extra `arriero[quality]`) can only ask a finished model, and no
# package of Debian or of the Python index holds the trainer. Its sources are inside the source
# archive of the Python package, though: this script takes them from there.
#
#   deploy/build_lmplz.sh PREFIX [SOURCE_ARCHIVE]
#
# PREFIX          the two programs go to PREFIX/bin. Put that folder on PATH, or name it in
#                 ARRIERO_KENLM_BIN, where the flow `quality_models` looks first.
# SOURCE_ARCHIVE  kenlm-0.3.0.tar.gz, where there is no package index; else pip fetches it.
#
# Environment: PYTHON (default python3; needs pip), JOBS (default: all cores).
# Needs, as Debian 12 names them:
#   apt-get install cmake g++ make libboost-program-options-dev libboost-system-dev \
#     libboost-thread-dev libboost-test-dev zlib1g-dev libbz2-dev liblzma-dev
# Boost is linked statically: the programs run where only libz, libbz2, liblzma and libstdc++ are.
# Takes about a minute of one core. KenLM is LGPL-2.1 or later.
set -euo pipefail

VERSION=0.3.0
SHA256=c4628bb9fb63c8a6f9240035b8b037385cfc404cb72e933cf48878291edac1e8

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
mkdir -p "$1"
prefix=$(cd "$1" && pwd)
archive=${2:-}
for program in cmake g++ make tar sha256sum; do
    command -v "$program" > /dev/null || { echo "build_lmplz: $program is missing; see the head of $0" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "$archive" ]; then
    "${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --no-deps \
        --no-binary kenlm --dest "$work" "kenlm==$VERSION"
    archive="$work/kenlm-$VERSION.tar.gz"
fi
echo "$SHA256  $archive" | sha256sum --check --quiet - || {
    echo "build_lmplz: $archive is not the archive this script was written for" >&2
    exit 1
}
mkdir "$work/source" "$work/build"
tar -xzf "$archive" -C "$work/source" --strip-components=1 --no-same-owner
cmake -S "$work/source" -B "$work/build" \
    -DCMAKE_BUILD_TYPE=Release -DBoost_USE_STATIC_LIBS=ON -DBUILD_TESTING=OFF
make -C "$work/build" -j "${JOBS:-$(nproc)}" lmplz build_binary

mkdir -p "$prefix/bin"
for program in lmplz build_binary; do
    install -m 755 "$work/build/bin/$program" "$prefix/bin/$program"
done
echo "installed $prefix/bin/lmplz and $prefix/bin/build_binary"
echo "export ARRIERO_KENLM_BIN=$prefix/bin"
