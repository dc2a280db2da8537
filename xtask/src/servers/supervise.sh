# Runs a server for as long as somebody holds the other end of this script's standard input.
#
#   supervise.sh GRACE PROGRAM [ARGUMENT…]
#
# The end of the input asks the server to stop: the owner let go, or died. A line of input kills it at once. A server
# that has not stopped after GRACE seconds is killed. Whatever is left of this script's process group goes with it, so
# the script must be started as the leader of a group of its own.
grace=$1
shift

# The job in the background would otherwise have its input taken away, and the server must not read it.
exec 3<&0 </dev/null

"$@" 3<&- &
server=$!

{
    signal=TERM
    if read -r _ <&3; then signal=KILL; fi
    kill -"$signal" "$server"
    sleep "$grace"
    kill -KILL 0
} &

# Waiting reaps the server: when this script is gone, so are the server and its ports.
wait "$server"
kill -KILL 0
