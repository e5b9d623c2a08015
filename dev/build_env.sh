#!/usr/bin/env bash
# Build one environment under the checkout, or return at once if it is there and current.
#
#   dev/build_env.sh main      .venv: ROS 2 Jazzy, ONNX Runtime, build and test tools
#   dev/build_env.sh numpy2    .venv-numpy2: the core's tests with NumPy 2
#   dev/build_env.sh rtx14     .venv-rtx14: the engine builder's tests with TensorRT-RTX 1.4, an older API
#   dev/build_env.sh torch     .venv-torch: the tests that need PyTorch
#   dev/build_env.sh py310     .venv-py310: the core's tests on Python 3.10; exit 3 where there is no Python 3.10
#
# Exit 2: the machine lacks system packages (named, with the command that installs them).
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
name=${1:-main}

if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    echo "make env: the ROS 2 wheels exist for Linux on x86-64 only and this is $(uname -s) on $(uname -m)." \
        "Use an installed ROS 2 instead: rosdep install, colcon build." >&2
    exit 2
fi

if [ "$name" = py310 ]; then
    python=$(dev/find_python.sh 3.10) || exit 3
else
    python=$(dev/find_python.sh)
    [ $? -ne 2 ] || exit 2
fi

if [ -n "$python" ] && "$python" -I dev/build_env.py "$name" --is-ready; then
    exit 0
fi

# Everything that is missing is named at once, so that one command repairs the machine.
missing=()
have() { command -v "$1" >/dev/null 2>&1; }
if [ -z "$python" ]; then
    missing+=(python3 python3-venv)
    [ "$name" != main ] || missing+=(python3-dev)
else
    # A second Python beside the system's has packages of its own: python3.12-venv.
    prefix=python3
    case $python in
        /usr/bin/python3.*) [ "$python" = "$(readlink -f /usr/bin/python3)" ] || prefix=${python##*/} ;;
    esac
    "$python" -I -c 'import ensurepip, venv' 2>/dev/null || missing+=("$prefix-venv")
    if [ "$name" = main ]; then
        "$python" -I -c 'import os, sys, sysconfig
sys.exit(not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")))' || missing+=("$prefix-dev")
    fi
fi
if [ "$name" = main ]; then
    { have "${CC:-cc}" || have gcc; } && { have "${CXX:-c++}" || have g++; } || missing+=(g++)
fi
have make || missing+=(make)
if [ ${#missing[@]} -gt 0 ]; then
    {
        echo "make env: this machine lacks ${missing[*]}. On Debian and Ubuntu:"
        echo "    sudo apt-get update && sudo apt-get install -y ${missing[*]}"
        [ -n "$python" ] || echo "or set PYTHON to a Python 3.10 to 3.13."
    } >&2
    exit 2
fi

if [ "$name" = main ] && [ -n "${ROS_DISTRO:-}" ]; then
    echo "ROS 2 $ROS_DISTRO is sourced in this shell: the environment built here is separate from it and does not use it."
fi
exec "$python" -I dev/build_env.py "$name"
