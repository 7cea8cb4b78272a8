#!/usr/bin/env bash
# Run EasyPhoto without a WebUI: the first run makes an environment beside this file and installs into it.
#   ./easyphoto.sh demo            the main job on pictures that come with the packages
#   ./easyphoto.sh serve           the tabs and the API in a browser
#   ./easyphoto.sh test            install the test tools and run the tests
#   ./easyphoto.sh train --help    and so on: python -m easyphoto
# Run it from any folder, also through a link: paths that you give are those of the folder you are in.
set -euo pipefail
unset CDPATH

# the folder of this file itself, whatever links led here
here() {
  local file=$1 target
  while [ -L "$file" ]; do
    target=$(readlink "$file")
    case $target in
      /*) file=$target ;;
      *) file=$(dirname -- "$file")/$target ;;
    esac
  done
  cd -P -- "$(dirname -- "$file")" && pwd
}
home=$(here "${BASH_SOURCE[0]}")
venv=${EASYPHOTO_VENV:-$home/.venv}

find_python() {
  for candidate in "${PYTHON:-}" python3.12 python3.11 python3.10 python3.13 python3 python; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  echo "EasyPhoto needs Python 3.10 to 3.13; set PYTHON to one." >&2
  exit 1
}

# install FILE: bring the environment to what FILE asks for, unless that was done already
install() {
  local stamp="$venv/$1.done" wanted python pip
  wanted=$(cat "$home"/requirements*.txt | cksum)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
  if [ ! -x "$venv/bin/python" ]; then
    python=$(find_python)
    "$python" -m venv "$venv"
  fi
  echo "Installing what $1 lists into $venv: a few minutes, once." >&2
  # What one package lacks on purpose (requirements-nodeps.txt) is no error: without the option, pip prints it as one.
  pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-warn-conflicts)
  "${pip[@]}" -c "$home/requirements-lock.txt" -r "$home/$1" >&2
  "${pip[@]}" --no-deps -r "$home/requirements-nodeps.txt" >&2
  echo "$wanted" >"$stamp"
}

if [ "${1:-}" = test ]; then
  shift
  install requirements-test.txt
  cd -- "$home" # the tests' settings are there
  exec "$venv/bin/python" -m pytest "$@"
fi
install requirements-standalone.txt
exec "$venv/bin/python" "$home/run.py" "$@"
