#!/bin/bash
# Check that every model of models.config answers a call over REST, with a text or a pair of texts. The script needs only
# bash, which TensorFlow Serving's image has.
if [[ -e ${DRAINING:-/tmp/draining} ]]; then
    echo "draining"
    exit 1
fi

encoded() {
    local LC_ALL=C text=$1 at char code
    for ((at = 0; at < ${#text}; at++)); do
        char=${text:at:1}
        printf -v code %d "'$char"
        [[ $char == [a-zA-Z0-9._~-] ]] && printf %s "$char" || printf %%%02X "$((code & 255))"
    done
}

answers() {
    exec 3<> "/dev/tcp/127.0.0.1/${REST_PORT:-8501}" || return 1
    printf 'POST /v1/models/%s:predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
        "$(encoded "$1")" "${#2}" "$2" >&3
    IFS=$'\r' read -r -t 8 status <&3
    # Read to the end; otherwise the server would write to a closed connection.
    IFS= read -r -d "" -t 2 rest <&3
    exec 3>&-
    [[ $status == "HTTP/1."?" 200 "* ]]
}

name='(^|[[:space:]{<,;])name[[:space:]]*:[[:space:]]*["'\'']([^"'\'']+)["'\''](.*)$'
count=0
while IFS= read -r line || [[ -n $line ]]; do
    while [[ $line =~ $name ]] && [[ ${line%"${BASH_REMATCH[0]}"} != *"#"* ]]; do
        count=$((count + 1))
        model=${BASH_REMATCH[2]}
        line=${BASH_REMATCH[3]}
        answers "$model" '{"inputs":{"text":["healthy?"]}}' ||
            { [[ $status == *" 400 "* ]] && answers "$model" '{"inputs":{"text":["healthy?"],"text_pair":["yes"]}}'; } ||
            { echo "model $model does not answer: ${status:-nothing}"; exit 1; }
    done
done < "${MODELS_CONFIG:-/models/models.config}"
((count > 0)) || { echo "no models"; exit 1; }
echo "$count models answer"
