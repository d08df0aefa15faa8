#!/bin/sh
# Styx: this machine runs an agent for the server that its order names, and ends itself when it hears from none for too long.
# All that is particular to one machine is the order at the end; it holds a join token that is good for one agent, and no other secret.
# Run again, after a reboot say, it finds what it left and changes nothing.
umask 077
ROOT=${STYX_BOOT_FOLDER:-/var/lib/styx}
mkdir -p "$ROOT" || exit 1
cat >"$ROOT/boot.new" <<'END_OF_STYX'
#!/bin/sh
# boot start | stop | end | run. `run` is the loop that keeps the agent alive and watches the dead-man's switch. `stop` lets programs
# end, `end` does not. A file `end` beside this holds another command than the order's for what ends the machine.
umask 077
ROOT=$(cd "${0%/*}" && pwd) || exit 1
HOME=${HOME:-/root}
PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
export HOME PATH
PAUSE=${STYX_BOOT_PAUSE:-1}

say() { echo "styx: $*"; }
number() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$ROOT/order.json"; }
words() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$ROOT/order.json"; }
end_command() { if [ -f "$ROOT/end" ]; then cat "$ROOT/end"; else words end_command; fi; }
uptime_now() { read -r NOW REST </proc/uptime; NOW=${NOW%%.*}; } # a clock that nobody sets, and that runs through suspend
alive() { read -r PID 2>/dev/null <"$ROOT/pid" && kill -0 "$PID" 2>/dev/null && grep -q "$ROOT/boot" "/proc/$PID/cmdline" 2>/dev/null; }

# Python: the first one there is an archive for. It says what it is; what it is not good for is said in words.
PROBE='
import json, platform, sys, sysconfig
tag = "cp%d%d%s" % (sys.version_info[0], sys.version_info[1], getattr(sys, "abiflags", ""))
tag += "-musl" if "musl" in (sysconfig.get_config_var("SOABI") or "") else ""
arch = platform.machine()
if sys.version_info < (3, 11):
    sys.exit("is Python %d.%d, and an agent needs 3.11 or newer" % sys.version_info[:2])
for known in json.load(open(sys.argv[1]))["archives"]:
    if known[:2] == [tag, arch]:
        sys.exit(print(tag, arch, known[2]))
sys.exit("is %s on %s, for which the server has no archive; there: styx bootstrap fetch --python %d.%d --arch %s"
    % (tag, arch, sys.version_info[0], sys.version_info[1], arch))
'
find_python() {
  TRIED=
  for NAME in $STYX_BOOT_PYTHON python3 python3.11 python3.12 python3.13 python3.14 /usr/local/bin/python3 /usr/bin/python3; do
    PYTHON=$(command -v "$NAME" 2>/dev/null) || continue
    if ABOUT=$("$PYTHON" -I -c "$PROBE" "$ROOT/order.json" 2>"$ROOT/probe"); then
      set -- $ABOUT
      TAG=$1 ARCH=$2 HASH=$3
      return 0
    fi
    TRIED="$TRIED $PYTHON $(tail -n 1 "$ROOT/probe");"
  done
  say "there is no Python here that an agent could run on:${TRIED:- none at all}"
  return 1
}

# The archive, checked against its hash and unpacked beside its name, then moved into place whole.
FETCH='
import hashlib, http.client, json, os, shutil, ssl, sys, tarfile, urllib.parse
root, tag, arch, digest = sys.argv[1:]
order = json.load(open(root + "/order.json"))
path = root + "/" + digest + ".tar.gz"
def good():
    if not os.path.exists(path):
        return False
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest() == digest
if not good():
    url = urllib.parse.urlsplit(order["server_url"])
    if url.scheme == "https":
        context = ssl.create_default_context()
        if order["ca"]:
            context.load_verify_locations(cadata=order["ca"])
        connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=30, context=context)
    else:
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    where = "%s/api/v1/bootstrap/%s/%s?sha256=%s" % (url.path.rstrip("/"), tag, arch, digest)
    try:
        connection.request("GET", where, headers={"Authorization": "Bearer " + order["join_token"]})
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit("styx: the server answered %d: %s" % (answer.status, answer.read(500).decode("utf-8", "replace")))
        with open(path + ".new", "wb") as file:
            while True:
                data = answer.read(1 << 16)
                if not data:
                    break
                file.write(data)
                if file.tell() > 256 << 20:
                    sys.exit("styx: the archive does not end")
    except (OSError, http.client.HTTPException) as error:
        sys.exit("styx: the archive cannot be fetched from %s: %s" % (order["server_url"], error))
    os.replace(path + ".new", path)
    if not good():
        os.remove(path)
        sys.exit("styx: the archive is not the one that was promised: its SHA-256 is another")
target = root + "/app/" + digest
shutil.rmtree(target + ".new", ignore_errors=True)
with tarfile.open(path) as archive:
    if hasattr(tarfile, "data_filter"):
        archive.extractall(target + ".new", filter="data")
    else:
        archive.extractall(target + ".new")
os.rename(target + ".new", target)
os.remove(path)
'
RUN='
import json, os, sys
root, app = sys.argv[1:]
order = json.load(open(root + "/order.json"))
words = ["--server", order["server_url"], "--home", root + "/home", "--token-file", root + "/join"]
if order["ca"]:
    words += ["--ca", root + "/ca.pem"]
for key, value in order["labels"]:
    words += ["--label", key + "=" + value]
words += ["--end-machine-after-idle", str(order["idle_seconds"]) + "s"]
words += ["--end-machine-after-busy", str(order["busy_seconds"]) + "s"]
end = order["end_command"]
if os.path.exists(root + "/end"):
    end = open(root + "/end").read().strip()
words += ["--end-command", end, "--contact-file", root + "/contact"]
if order["cpus"]:
    words += ["--cpus", str(order["cpus"]) + "m"]
if order["memory"]:
    words += ["--memory", str(order["memory"])]
if order["watch"]:
    words += ["--watch-preemption", order["watch"]]
for name in [name for name in os.environ if name.startswith("STYX_") and name not in ("STYX_LOG_LEVEL", "STYX_METADATA_URL")]:
    del os.environ[name]
if order["token"]:
    os.environ["STYX_AGENT_ID"] = order["token"]
    words += ["--name", order["token"]]
os.chdir("/")
os.umask(0o022)
sys.path.insert(0, app)
from styx.agent.main import main
sys.exit(main(words))
'
work() {
  find_python || exit 75
  if [ ! -d "$ROOT/app/$HASH" ]; then
    "$PYTHON" -I -c "$FETCH" "$ROOT" "$TAG" "$ARCH" "$HASH" || exit 75
    say "the archive for $TAG on $ARCH is here"
  fi
  exec "$PYTHON" -I -c "$RUN" "$ROOT" "$ROOT/app/$HASH"
}

write_out() { # what the agent reads, from the order
  base64 -d "$ROOT/order" >"$ROOT/order.json" || { say "the order cannot be read"; return 1; }
  words join_token >"$ROOT/join"
  CA=$(words ca)
  if [ -n "$CA" ]; then printf '%b' "$CA" >"$ROOT/ca.pem"; fi
}

end_if_forgotten() { # `contact` says when a server was last heard, and how many programs ran then
  uptime_now
  HEARD=$BEGAN RUNNING=0
  read -r HEARD RUNNING 2>/dev/null <"$ROOT/contact"
  LIMIT=$IDLE
  if [ "${RUNNING:-0}" -gt 0 ]; then LIMIT=$BUSY; fi
  if [ $((NOW - ${HEARD:-$BEGAN})) -lt "$LIMIT" ]; then ENDS_AGAIN=0; return; fi
  if [ "$NOW" -lt "$ENDS_AGAIN" ]; then return; fi
  ENDS_AGAIN=$((NOW + 60))
  say "no server was heard for $((NOW - HEARD)) s, with $RUNNING programs running: this machine ends itself"
  sh -c "$(end_command)"
}

# Two starts may come at once, each before the other has said that it runs: one of them stays. It goes too when its folder is taken away.
stay_alone() {
  read -r PID 2>/dev/null <"$ROOT/pid" || PID=
  if [ "$PID" = "$$" ]; then return; fi
  if ! alive && echo $$ 2>/dev/null >"$ROOT/pid"; then return; fi
  if [ -n "$AGENT" ]; then kill -TERM "$AGENT"; fi
  exit 0
}

# An agent that ended well was told to go: it is not started again, and the switch alone stays.
keep() {
  AGENT= NEXT=0 WAIT=1 DONE= STOPPING= ENDS_AGAIN=0
  IDLE=$(number idle_seconds) BUSY=$(number busy_seconds)
  trap 'STOPPING=1; [ -z "$AGENT" ] || kill -TERM "$AGENT"' TERM INT
  while :; do
    stay_alone
    end_if_forgotten
    if [ -n "$AGENT" ] && ! kill -0 "$AGENT" 2>/dev/null; then
      wait "$AGENT"
      CODE=$? AGENT=
      uptime_now
      [ $((NOW - STARTED)) -lt 60 ] || WAIT=1
      NEXT=$((NOW + WAIT)) WAIT=$((WAIT * 2))
      [ "$WAIT" -le 60 ] || WAIT=60
      if [ "$CODE" = 0 ]; then DONE=1; fi
      say "the agent ended with $CODE"
    fi
    if [ -z "$AGENT" ] && [ -n "$STOPPING" ]; then exit 0; fi
    if [ -z "$AGENT$DONE" ] && [ "$NOW" -ge "$NEXT" ]; then
      STARTED=$NOW
      work &
      AGENT=$!
    fi
    sleep "$PAUSE"
  done
}

# The agent and its owner, by the folders in their command lines; programs are ended by their owner.
tell_all() {
  FOUND= # grep is not given the folders in its own command line, where it would find itself
  for FILE in $(printf '%s\n' "$ROOT/app/" "$ROOT/home/" | grep -lF -f - /proc/[0-9]*/cmdline 2>/dev/null); do
    FOUND=1 FILE=${FILE#/proc/}
    kill "-$1" "${FILE%/cmdline}" 2>/dev/null
  done
}

case ${1:-start} in
start)
  if alive; then say "runs already, as process $PID"; exit 0; fi
  write_out || exit 1
  rm -f "$ROOT/ended"
  uptime_now
  echo "$NOW 0" >"$ROOT/contact"
  if [ "$(id -u)" = 0 ] && [ -d "${STYX_BOOT_EACH:-/var/lib/cloud/scripts/per-boot}" ]; then
    EACH=${STYX_BOOT_EACH:-/var/lib/cloud/scripts/per-boot}/styx
    printf '#!/bin/sh\nexec sh "%s" start\n' "$ROOT/boot" >"$EACH" && chmod 755 "$EACH"
  fi
  find_python # what is wrong with it is said where a person may see it, and the switch holds all the same
  if command -v setsid >/dev/null 2>&1; then SETSID=setsid; else SETSID=; fi
  $SETSID sh "$ROOT/boot" run </dev/null >>"$ROOT/log" 2>&1 &
  echo $! >"$ROOT/pid"
  ;;
stop)
  if ! alive; then say "does not run"; exit 0; fi
  kill -TERM "$PID"
  while alive; do sleep "$PAUSE"; done
  ;;
end)
  if alive; then kill -KILL "$PID"; fi
  QUIET= # nothing is to be found twice: what is about to become the agent does not look like one yet
  for SIGNAL in TERM TERM 0 0 0 0 0 0 0 0 0 0 0 0 0 0 KILL; do
    tell_all "$SIGNAL"
    if [ -n "$FOUND" ]; then QUIET=; elif [ -n "$QUIET" ]; then break; else QUIET=1; fi
    sleep "$PAUSE"
  done
  : >"$ROOT/ended"
  ;;
run)
  echo $$ >"$ROOT/pid"
  uptime_now
  BEGAN=$NOW
  keep
  ;;
esac
END_OF_STYX
mv "$ROOT/boot.new" "$ROOT/boot"
cat >"$ROOT/order.new" <<'END_OF_STYX'
@ORDER@
END_OF_STYX
mv "$ROOT/order.new" "$ROOT/order"
exec sh "$ROOT/boot" start
