#!/bin/sh
# Writes the Java classes of the protos into a folder. Needs protoc and its plug-in grpc-java.
#   generate.sh FOLDER [PLUGIN]
set -eu
cd "$(dirname "$0")"
protos=../../../serving/wire/protos
protoc -I .. -I "$protos" --java_out="$1" --grpc-java_out="$1" \
  --plugin=protoc-gen-grpc-java="${2:-$(command -v protoc-gen-grpc-java || command -v grpc_java_plugin)}" \
  ../services.proto "$protos/serving.proto" "$protos/tensorflow.proto" "$protos/error_codes.proto" \
  "$protos/model_server_config.proto"
