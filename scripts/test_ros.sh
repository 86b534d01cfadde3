#!/usr/bin/env bash
# What needs an installed ROS 2: the suite over the port with the r2r adapter, and the node under ROS's own tools.
# Says so in one line, and succeeds, where none is sourced. Everything stays on loopback, in a domain of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "test-ros: skipped, $1"
    exit 0
}
[ -n "${ROS_DISTRO:-}" ] && [ -n "${AMENT_PREFIX_PATH:-}" ] || skip "no ROS 2 is sourced"
command -v ros2 >/dev/null || skip "ROS 2 $ROS_DISTRO has no ros2 command"

unset ROS_LOCALHOST_ONLY ROS_STATIC_PEERS CYCLONEDDS_URI
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
export ROS_DOMAIN_ID=$((110 + $$ % 90))
flags=${CARGO_FLAGS:---release --locked --offline}

# A folder of its own: r2r's bindings are made anew for every ROS environment.
echo "test-ros: the port suite on ROS 2 $ROS_DISTRO, ${RMW_IMPLEMENTATION:-default middleware}, domain $ROS_DOMAIN_ID"
# shellcheck disable=SC2086 # several flags
cargo test $flags --features r2r --target-dir target/ros --test r2r_port
# shellcheck disable=SC2086
cargo build $flags --features r2r --target-dir target/ros --bins
echo "test-ros: the node and ros2 …"
for adapter in r2r dds; do
    ros2 daemon stop >/dev/null
    # Without the plugins that ROS brings, which belong to another version of pytest than a virtual environment's.
    PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 VJEPA_NODE="$PWD/target/ros/release/planner_node" VJEPA_ADAPTER=$adapter \
        python3 -m pytest -q -p no:cacheprovider tests/ros
done
ros2 daemon stop >/dev/null
