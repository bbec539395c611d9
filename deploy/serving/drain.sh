#!/bin/sh
# drain.sh COMMAND...: run a server that drops its calls at SIGTERM, with a pause before that signal.
#
# At SIGTERM or SIGINT the server is marked as draining: healthy.sh fails, and a load balancer that uses it sends new calls
# to other servers. After DRAIN_SECONDS the server gets SIGTERM; a second signal ends the pause. The exit status is that of
# the server.
seconds=${DRAIN_SECONDS:-10}
mark=${DRAINING:-/tmp/draining}
case $seconds in
    *[!0-9]*) echo "DRAIN_SECONDS is $seconds: give whole seconds" >&2; exit 2 ;;
esac

left=
drain() {
    if [ -n "$left" ]; then
        left=0
    else
        echo "draining for $seconds seconds" >&2
        : > "$mark"
        left=$seconds
    fi
}

rm -f "$mark"
trap drain TERM INT
"$@" &
server=$!
# A loop with sleep instead of `wait`, which would miss a signal that arrives just before it until the server ends.
while kill -0 "$server" 2> /dev/null; do
    if [ -n "$left" ] && [ "$left" -le 0 ]; then
        kill "$server"
        break
    fi
    sleep 1
    [ -z "$left" ] || left=$((left - 1))
done
trap '' TERM INT
wait "$server"
