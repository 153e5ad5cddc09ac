#!/usr/bin/env bash
# 事件变化，每个只取一次 / Every incident change, once: reads `incidents` from the beginning and prints a line a change.
#
#   incident_changes.sh [SERVERS [TOPIC [SILENCE_S [COUNT]]]]        needs kcat and jq
#
# zhinao delivers at least once. Two rules make that exactly once for a reader: within a partition ignore a record whose
# ce_epoch is lower than one seen before (it is of a Desk that has been replaced), and take each (incident_id, revision)
# once. Ends after SILENCE_S seconds without a record or after COUNT changes; 0: never.
set -euo pipefail

servers=${1:-localhost:9092} topic=${2:-zhinao.incidents.v1} silence=${3:-0} count=${4:-0}

# What kcat gives of a record: partition, payload, and headers as a list of name, value, name, value.
read -r -d '' once <<'JQ' || true
def header($name): . as $all | first(range(0; length; 2) | select($all[.] == $name) | $all[. + 1]) // null;
def line: [.changed_at, .incident_id, .revision, .state, .reason, .message.zh] | map(tostring) | join("\t");
def changes:
  foreach inputs as $record ({epochs: {}, taken: {}, change: null};
    ($record.partition | tostring) as $partition
    | (($record.headers // []) | header("ce_epoch") // "0" | tonumber) as $epoch
    | if $epoch < (.epochs[$partition] // 0) then .change = null
      else .epochs[$partition] = $epoch
      | ($record.payload | fromjson) as $change
      | "\($change.incident_id)/\($change.revision)" as $identity
      | if .taken[$identity] then .change = null
        else .taken[$identity] = true | .change = $change
        end
      end;
    .change | select(. != null) | line);
if $count > 0 then limit($count; changes) else changes end
JQ

exec {records}< <(exec kcat -C -q -J -b "$servers" -t "$topic" -o beginning)
kcat=$!
trap 'kill "$kcat" 2>/dev/null || true' EXIT

# Records pass on until none has come for so long.
wait_option=()
[[ $silence == 0 ]] || wait_option=(-t "$silence")
until_silent() {
    local record
    while IFS= read -r -u "$records" "${wait_option[@]}" record; do
        printf '%s\n' "$record" || return 0
    done
}

jq --unbuffered --null-input --raw-output --argjson count "$count" "$once" < <(until_silent 2>/dev/null)

# kcat ends by itself only when something is wrong, and has said what.
kill -0 "$kcat" 2>/dev/null || wait "$kcat"
