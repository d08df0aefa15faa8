#!/bin/sh
# Fails in its first two attempts, as a flaky download would.
echo "attempt $STYX_ATTEMPT"
if [ "$STYX_ATTEMPT" -lt 3 ]; then
    echo "the network is down" >&2
    exit 1
fi
printf %s "$STYX_ATTEMPT" > "$STYX_RESULT"
