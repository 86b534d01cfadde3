#!/bin/busybox sh
# The guest's first process: loads the virtual camera, runs the tests, says how it went, switches off.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp RUST_BACKTRACE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
exec </dev/console >/dev/console 2>&1
failed=0
say() { echo "GUEST: $*"; }
fail() { say "FAILED: $*"; failed=1; }
check() { say "$1"; shift; "$@" || fail "$*"; }
# One camera with one input of the kind "webcam".
vivid="n_devs=1 node_types=0x1 num_inputs=1 input_types=0"
for module in $(cat /modules/order); do
    options=; [ $module = vivid ] && options=$vivid
    insmod /modules/$module.ko $options || fail "load $module"
done
say "Linux $(uname -r), $(ls /dev/video*), $(cat /sys/class/video4linux/video0/name)"
check "tests of the source" test-v4l2 --ignored --test-threads=1 --nocapture
if [ -e /bin/vjepa-planner ]; then
    check "vjepa-planner cameras" sh -c 'vjepa-planner cameras >/tmp/cameras; head -n 12 /tmp/cameras;
        grep -q "^/dev/video0: vivid" /tmp/cameras && grep -q YUYV /tmp/cameras && grep -q "Discrete 640x360" /tmp/cameras'
    options="--params-file /planner.yaml -p camera.v4l2.width:=320 -p camera.v4l2.height:=180 --size 64"
    check "vjepa-planner view" sh -c "vjepa-planner view --camera /dev/video0 $options -o /tmp/view.png &&
        head -c 4 /tmp/view.png | grep -q PNG"
    say "a user who is not in the group video"
    chown 0:44 /dev/video0; chmod 660 /dev/video0
    su -s /bin/sh nobody -c "vjepa-planner view --camera /dev/video0 $options -o /tmp/no.png" 2>/tmp/refused &&
        fail "was let in"
    cat /tmp/refused
    grep -q 'group `video`' /tmp/refused || fail "does not say what to do"
fi
[ $failed = 0 ] && say "all passed"
poweroff -f
