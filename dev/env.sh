# Source this (bash or zsh) for a shell in which python, colcon and the package work:
#
#     source dev/env.sh
#
# It uses the environment that `make env` builds under the checkout and nothing of an installed ROS 2: where one is
# sourced in this shell its folders are taken out of the paths, and a line says so.

_c7_env() {
    local root=$1 venv part libraries foreign
    venv=$root/.venv
    if [ ! -f "$venv/.ready" ]; then
        echo "the environment is not built: run 'make env' in $root first" >&2
        return 1
    fi
    unset PYTHONHOME

    # An installed ROS 2 and this one must not meet in one process: drop the folders of the other one.
    foreign=
    if [ -n "${ROS_DISTRO:-}" ]; then
        foreign=${AMENT_PREFIX_PATH:-}:${COLCON_PREFIX_PATH:-}
        echo "ROS 2 $ROS_DISTRO is sourced in this shell: it is left out here, the environment of the checkout is used" >&2
        unset ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION COLCON_PREFIX_PATH CMAKE_PREFIX_PATH
    fi
    PATH=$(_c7_without "$PATH" "$foreign:$venv")
    LD_LIBRARY_PATH=$(_c7_without "${LD_LIBRARY_PATH:-}" "$foreign:$venv")

    # The wheels would start every interpreter twice to set this path; with it set they must be told that it is done.
    libraries=$venv/lib
    for part in "$venv"/lib/python3*/site-packages/ros_*.libs; do
        libraries=$libraries:$part
    done
    export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
    export PATH=$venv/bin:$PATH
    export VIRTUAL_ENV=$venv
    export AMENT_PREFIX_PATH=$venv
    export PYTHONPATH=$root
    export RMW_IMPLEMENTATION=rmw_fastrtps_cpp
    # Nothing leaves this machine.
    export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
    # Fast DDS 2.14 reads the first name, 3.x the second; the caller's own profile stays.
    if [ -f "$root/config/fastdds_images.xml" ]; then
        export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$root/config/fastdds_images.xml}"
        export FASTDDS_DEFAULT_PROFILES_FILE="${FASTDDS_DEFAULT_PROFILES_FILE:-$FASTRTPS_DEFAULT_PROFILES_FILE}"
    fi
}

# Print the colon-separated list $1 without the folders that lie in a folder of the list $2.
_c7_without() {
    awk -v list="$1" -v drop="$2" 'BEGIN {
        n = split(list, parts, ":"); m = split(drop, prefixes, ":"); out = ""
        for (i = 1; i <= n; i++) {
            keep = parts[i] != ""
            for (j = 1; j <= m && keep; j++) {
                p = prefixes[j]
                if (p != "" && (parts[i] == p || index(parts[i], p "/") == 1)) keep = 0
            }
            if (keep) out = out (out == "" ? "" : ":") parts[i]
        }
        print out
    }' </dev/null
}

if [ -n "${BASH_VERSION:-}" ]; then
    _c7_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
elif [ -n "${ZSH_VERSION:-}" ]; then
    eval '_c7_root=${${(%):-%x}:A:h:h}'
else
    echo 'dev/env.sh needs bash or zsh' >&2
    return 1
fi
_c7_env "$_c7_root"
_c7_status=$?
unset -f _c7_env _c7_without
unset _c7_root
# The status of a sourced file is that of its last command; the variable must not stay behind in the shell.
eval "unset _c7_status; [ $_c7_status -eq 0 ]"
