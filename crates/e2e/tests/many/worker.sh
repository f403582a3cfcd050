#!/bin/sh
# Speaks as a worker does and embeds nothing, so that many of them can be followed on a small machine. What only a real
# one can do, a real one does. Its first work is done once the file $GO is there: all that were started do some.
[ "$1" = --granted ] || exec "$REAL" "$@"
case " $* " in
*" --worker-id=1 "*) head -c 50000000 /dev/zero >&2 ;;
esac
echo "{\"event\":\"hello\",\"version\":\"0\",\"pid\":$$,\"host\":{\"hostname\":\"h\",\"cpus\":1,\"memory_bytes\":1}}"
echo '{"event":"ready","model":{"model_name":"none","fingerprint":"0","embedding_dim":1,"precision":"fp32","provider":"cpu"},"threads":1,"batch_size":8,"load_seconds":0}'
while IFS= read -r line; do
    case $line in
    *'"job":"encode"'*)
        until [ -e "$GO" ]; do sleep 0.1; done
        id=${line#*\"id\":} count=${line#*\"count\":}
        echo "{\"event\":\"part\",\"chunk_id\":${id%%,*},\"name\":\"p${id%%,*}\",\"rows\":${count%%,*},\"failed\":0,\"checksum\":\"0\",\"found\":false}"
        ;;
    *'"job":"finish"'*)
        echo '{"event":"done","rows":0,"failed":0}'
        exit
        ;;
    *'"job":"stop"'*) exit 1 ;;
    esac
done
