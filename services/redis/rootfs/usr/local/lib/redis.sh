# What the programs of this image share; sourced by them.
#
#   SENTINELS          hosts of all Sentinels, separated by spaces
#   SENTINEL_PASSWORD  of all of them
#   MASTER             what they call the master
# shellcheck shell=sh

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# NAME VALUE: a password that a line of a configuration can hold.
check_password() {
  [ -n "$2" ] || die "set $1"
  case $2 in *[[:cntrl:]]*) die "$1 has a control character" ;; esac
}

# As configurations of Redis quote.
quoted() { printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"; }

# One server per volume: the lock is inherited by the server and dies with it.
lock_volume() {
  # A redirection of `exec` that fails ends the shell, so it is tried first.
  (: >>/data/.lock) 2>/dev/null || die "/data is not writable by uid $(id -u)"
  exec 9>>/data/.lock
  flock -n 9 && return
  say "another server uses this volume, waiting for it to end"
  flock 9 & wait $!
}

# A host by its full name, in a pod. With the last dot it is looked up as it stands: a search path would ask
# the name servers of the outside too while a pod is away, and a Sentinel does nothing else meanwhile.
full() {
  domain=$(sed -n 's/^search[[:space:]]*\([^[:space:]]*\).*/\1/p' /etc/resolv.conf)
  case $domain in
    *.svc.*) printf '%s.%s.' "$1" "$domain" ;;
    *) printf '%s' "$1" ;;
  esac
}

# Not that of busybox, which its shell would take: it leaves a process behind each time.
limit=/usr/bin/timeout

# SENTINEL COMMAND…
ask() {
  sentinel=$(full "$1")
  shift
  REDISCLI_AUTH=$SENTINEL_PASSWORD "$limit" 1 redis-cli -h "$sentinel" -p 26379 "$@" 2>/dev/null </dev/null
}

# A line for every Sentinel that answers: epoch, host and port of the master, its flags, number of its replicas, the
# host that the flags are about, and how many milliseconds ago it answered. That host is still the former one while a
# failover comes to its end.
views() {
  for each in $SENTINELS; do
    printf 'sentinel %s %s\n' get-master-addr-by-name "$MASTER" master "$MASTER" |
      REDISCLI_AUTH=$SENTINEL_PASSWORD "$limit" 1 redis-cli -h "$(full "$each")" -p 26379 2>/dev/null | awk '
      NR == 1 { host = $0 }
      NR == 2 { port = $0 }
      NR == 3 { both = $0 == "name" } # not if it has only just begun to listen
      NR % 2 { key = $0; next }
      { value[key] = $0 }
      END {
        if (both && "config-epoch" in value)
          print value["config-epoch"], host, port, value["flags"], value["num-slaves"], value["ip"],
            value["last-ok-ping-reply"]
      }' &
  done
  wait
}

# COMMAND…: while no other program here decides what the server takes.
alone() { ( flock 8 && "$@" ) 8>/run/redis/deciding; }

# Those of the lines that are of the latest election.
latest() {
  printf '%s\n' "$1" | sort -rn | awk 'NR == 1 { epoch = $1 } $1 == epoch'
}

# Seconds of a clock that nobody sets.
now() {
  read -r uptime _ </proc/uptime
  echo "${uptime%%.*}"
}

# How many Sentinels there are.
number() {
  # shellcheck disable=SC2086 # a word for each
  set -- $SENTINELS
  echo $#
}

# How many Sentinels are more than half of them.
majority() { echo $(($(number) / 2 + 1)); }

lines() { printf '%s' "$1" | awk 'END { print NR }'; }

# TEXT PART
contains() { case $1 in *"$2"*) true ;; *) false ;; esac; }
