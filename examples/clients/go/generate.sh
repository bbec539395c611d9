#!/bin/sh
# Writes the package example.com/rawbert/serving from the protos. Needs protoc, protoc-gen-go and protoc-gen-go-grpc.
#   generate.sh [FOLDER]     default: this folder
set -eu
cd "$(dirname "$0")"
target=${1:-.}
protos=../../../serving/wire/protos
package=example.com/rawbert/serving
mapped=
for file in services serving tensorflow error_codes model_server_config; do
  mapped="$mapped,M$file.proto=$package"
done
protoc -I .. -I "$protos" \
  "--go_out=$target" "--go_opt=module=example.com/rawbert$mapped" \
  "--go-grpc_out=$target" "--go-grpc_opt=module=example.com/rawbert$mapped" \
  ../services.proto "$protos/serving.proto" "$protos/tensorflow.proto" "$protos/error_codes.proto" \
  "$protos/model_server_config.proto"
