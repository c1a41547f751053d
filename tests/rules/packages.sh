#!/bin/bash
# Every Debian package that leat installs is named in the README.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$1"

[ -e README.md ] || { echo "there is no README.md yet"; exit 77; }
verdict "$(sed -n 's/^\([a-z0-9][a-z0-9.+-]*\) *#.*/\1/p' .ci/packages | while read -r package; do
    grep -qF "$package" README.md || echo "README.md: does not name the package $package"
done)"
