#!/usr/bin/env bash
# Print the path of the Python that the development environment is built with; print nothing and fail if there is none.
#
#   dev/find_python.sh          $PYTHON, or the first of python3, python3.12, 3.11, 3.10 that runs and is 3.10 to 3.12;
#                               failing that a 3.13
#   dev/find_python.sh 3.10     that version only ($PYTHON310 first)
#
# Candidates are run, not looked up: a pyenv shim exists for versions that are not active and fails when called.
set -u

# The interpreter under a virtual environment counts, never the environment itself, which may be the one being rebuilt.
probe='import os, sys
exe = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
print(sys.version_info[0], sys.version_info[1], exe)'

version_of() { # candidate -> sets $minor and $exe, fails if it does not run or is not a Python 3
    local answer major
    answer=$(env -u PYTHONHOME -u PYTHONPATH "$1" -I -c "$probe" 2>/dev/null) || return 1
    read -r major minor exe <<<"$answer"
    [ "$major" = 3 ] && [ -n "${exe:-}" ]
}

if [ $# -gt 0 ]; then
    for candidate in ${PYTHON310:-} "python$1" python3 "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if version_of "$candidate" && [ "3.$minor" = "$1" ]; then
            echo "$exe"
            exit 0
        fi
    done
    exit 1
fi

if [ -n "${PYTHON:-}" ]; then
    if ! version_of "$PYTHON"; then
        echo "PYTHON=$PYTHON does not run as Python 3; give a Python 3.10 to 3.13 or unset PYTHON" >&2
        exit 2
    fi
    if [ "$minor" -lt 10 ] || [ "$minor" -gt 13 ]; then
        echo "PYTHON=$PYTHON is Python 3.$minor; the pinned wheels exist for 3.10 to 3.13" >&2
        exit 2
    fi
    echo "$exe"
    exit 0
fi

fallback=
for candidate in python3 python3.12 python3.11 python3.10 python3.13; do
    version_of "$candidate" || continue
    if [ "$minor" -ge 10 ] && [ "$minor" -le 12 ]; then
        echo "$exe"
        exit 0
    fi
    if [ "$minor" = 13 ] && [ -z "$fallback" ]; then
        fallback=$exe
    fi
done
[ -n "$fallback" ] && echo "$fallback"
